"""``hpcml bench fft`` ends with its ratios; a spectral convolution sends what the count on paper says."""

import csv
import json

import pytest

from hpcml.cli.benchmarks import fft
from hpcml.cli.main import main


@pytest.mark.parallel([2])
def test_the_last_line_holds_the_ratios_of_the_table(comm, shared_path, capsys, monkeypatch):
    monkeypatch.setattr(fft, "CELLS", 16)
    monkeypatch.setattr(fft, "SAMPLES", 3)
    assert main(["bench", "fft", "--json", "--csv", str(shared_path / "fft.csv")]) == 0
    if comm.rank == 0:
        figures = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert figures["bytes_ratio"] == pytest.approx(1.0) and figures["ratio"] > 0
        with (shared_path / "fft.csv").open(newline="") as file:
            ratios = [float(row["ratio"]) for row in csv.DictReader(file)]
        assert ratios == [figures["ratio"], figures["ratio_kept"], figures["bytes_ratio"]]


@pytest.mark.parallel([1])
def test_one_rank_has_nothing_to_share(comm, capsys):
    assert main(["bench", "fft"]) == 2
    assert capsys.readouterr().err == "hpcml: error: fft measures 2 ranks, got 1: start mpiexec -n 2 hpcml bench fft\n"
