"""`hpcml bench` prints a table, writes CSV, ends with one line of JSON, and names the ranks it needs."""

import csv
import json
import sys

import pytest

from hpcml.cli import bench
from hpcml.cli.main import main
from hpcml.kernels.description import describe_kernels

ROWS = [{"size": 64, "ratio": 1.23456789}, {"size": 512, "ratio": 10.0}]


@pytest.fixture
def two_rows(monkeypatch):
    """A benchmark for one rank that measures nothing."""
    module = type(sys)("two_rows")
    module.run = lambda world: (ROWS, {"ratio_64": 1.25})
    monkeypatch.setitem(sys.modules, "two_rows", module)
    monkeypatch.setitem(bench.BENCHMARKS, "two-rows", ("two_rows", 1, "nothing"))


def test_table_csv_and_json(two_rows, tmp_path, capsys):
    assert main(["bench", "two-rows", "--json", "--csv", str(tmp_path / "rows.csv")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["size  ratio", "  64  1.235", " 512     10"]
    figures = json.loads(lines[3])
    assert figures.pop("machine") == describe_kernels() and figures == {"ratio_64": 1.25}
    with (tmp_path / "rows.csv").open() as stream:
        assert [float(row["ratio"]) for row in csv.DictReader(stream)] == [1.23456789, 10.0]


def test_the_wrong_number_of_ranks_is_named(mpiexec):
    result = mpiexec(1, "-m", "hpcml", "bench", "halo-conv")
    assert result.returncode != 0 and "mpiexec -n 2 hpcml bench halo-conv" in result.stderr


def test_halo_conv_gives_its_figures(mpiexec):
    shorten = "import hpcml.cli.benchmarks.halo_conv as b, hpcml.cli.main as m; b.STEPS = {64: (2, 1)}"
    result = mpiexec(2, "-c", f"{shorten}; m.main(['bench', 'halo-conv', '--json'])")
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout.splitlines()[-1])
    assert set(figures) == {"ratio_64", "message_ratio_64", "machine"} and figures["machine"]["processor"]
    assert figures["ratio_64"] > 0 and figures["message_ratio_64"] > 0


def test_unet_gives_its_figures(mpiexec):
    shorten = "import hpcml.cli.benchmarks.unet as b, hpcml.cli.main as m; b.SAMPLES = {32: 1}; b.CHANNELS = 2"
    result = mpiexec(2, "-c", f"{shorten}; m.main(['bench', 'unet', '--json'])")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["ratio_32"] > 0
