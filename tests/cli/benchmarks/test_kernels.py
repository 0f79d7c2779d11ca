"""``hpcml bench kernels`` writes its table and ends with the ratios by name."""

import csv
import json

import pytest

from hpcml.cli.benchmarks import kernels
from hpcml.cli.main import main
from hpcml.kernels.bench import Comparison

MEASURED = [Comparison("sor_vs_numpy", "half a sweep", 1e-3, 8e-3, 8.0), Comparison("pack_vs_elements", "faces", 2e-6, 3e-6, 1.5)]


@pytest.mark.parallel([1])
def test_the_last_line_holds_the_ratios_of_the_table(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(kernels, "compare_kernels", lambda: MEASURED)
    assert main(["bench", "kernels", "--json", "--csv", str(tmp_path / "kernels.csv")]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {name: figure for name, figure in figures.items() if name != "machine"} == {c.name: c.ratio for c in MEASURED}
    with (tmp_path / "kernels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["comparison"], float(row["kernel_us"]), float(row["ratio"])) for row in rows] == [
        ("sor_vs_numpy", 1000.0, 8.0),
        ("pack_vs_elements", 2.0, 1.5),
    ]
