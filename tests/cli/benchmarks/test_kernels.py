"""``hpcml bench kernels`` writes its table and ends with the ratios by name."""

import csv
import json

import pytest

from hpcml.cli.main import main


@pytest.mark.parallel([1])
def test_the_last_line_holds_the_ratios_of_the_table(tmp_path, capsys):
    assert main(["bench", "kernels", "--json", "--csv", str(tmp_path / "kernels.csv")]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"stencil7_vs_numpy", "stencil7_vs_torch", "sor_vs_numpy", "segment_vs_torch", "pack_vs_elements"} <= figures.keys()
    with (tmp_path / "kernels.csv").open(newline="") as file:
        assert {row["comparison"]: float(row["ratio"]) for row in csv.DictReader(file)} == {
            name: figure for name, figure in figures.items() if name != "machine"
        }
