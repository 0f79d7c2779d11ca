"""`hpcml bench` prints a table, writes CSV, ends with one line of JSON, and names the ranks it needs."""

import csv
import json
import sys

import pytest

from hpcml.cli import bench
from hpcml.cli.benchmarks import halo, halo_conv, unet
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
    machine = figures.pop("machine")
    assert "MPI" in machine.pop("mpi") and machine == describe_kernels() and figures == {"ratio_64": 1.25}
    with (tmp_path / "rows.csv").open() as stream:
        assert [float(row["ratio"]) for row in csv.DictReader(stream)] == [1.23456789, 10.0]


def test_the_wrong_number_of_ranks_is_named(alone):
    result = alone("bench", "halo-conv")
    assert result.returncode == 2 and "mpiexec -n 2 hpcml bench halo-conv" in result.stderr


@pytest.mark.parallel([2])
def test_halo_conv_gives_its_figures(comm, capsys, monkeypatch):
    monkeypatch.setattr(halo_conv, "STEPS", {64: (2, 1)})
    assert main(["bench", "halo-conv", "--json"]) == 0
    if comm.rank == 0:
        figures = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert set(figures) == {"ratio_64", "message_ratio_64", "machine"} and figures["machine"]["processor"]
        assert figures["ratio_64"] > 0 and figures["message_ratio_64"] > 0


@pytest.mark.parallel([2])
def test_unet_gives_its_figures(comm, capsys, monkeypatch):
    monkeypatch.setattr(unet, "SAMPLES", {32: 1})
    monkeypatch.setattr(unet, "CHANNELS", 2)
    assert main(["bench", "unet", "--json"]) == 0
    if comm.rank == 0:
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["ratio_32"] > 0


@pytest.mark.parallel([2])
def test_halo_compares_in_one_run_and_draws(comm, shared_path, capsys, monkeypatch):
    monkeypatch.setattr(halo, "CASES", {(8, 8): 6})
    assert main(["bench", "halo", "--json", "--plot", str(shared_path / "halo.png")]) == 0
    if comm.rank == 0:
        figures = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert {"vs_limit", "line_ns", "geomean", "worst", "vs_gloo"} <= set(figures) and all(
            v > 0 for name, v in figures.items() if name != "machine"
        )
        assert (shared_path / "halo.png").read_bytes().startswith(b"\x89PNG")
