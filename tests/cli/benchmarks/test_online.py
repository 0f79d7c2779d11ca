"""`hpcml bench online` trains by every buffer and from stored simulations, and ends with the figures that it is known by."""

import json
import math

import pytest

from hpcml.cli.benchmarks.online_transport import transport
from hpcml.cli.main import main

SMALL = {"updates": 12, "stored": 1, "seeds": 1, "side": 4, "width": 4, "messages": 4}


@pytest.mark.parallel([3])
def test_it_gives_its_figures(comm, capsys):
    words = [word for name, value in SMALL.items() for word in (f"--{name}", str(value))]
    assert main(["bench", "online", "--json", *words]) == 0
    if comm.rank == 0:
        lines = capsys.readouterr().out.splitlines()
        figures = json.loads(lines[-1])
        wanted = {"reservoir_vs_offline50", "own_600_vs_reservoir_2000", "trainer_idle", "solver_stall", "vs_files", "bytes_vs_zmq"}
        assert wanted | {"messages_vs_zmq", "fifo_over_reservoir", "firo_over_reservoir"} <= set(figures)
        assert 0 <= figures["trainer_idle"] <= 1 and 0 <= figures["solver_stall"] <= 1 and figures["fifo_over_reservoir"] > 0
        assert math.isfinite(figures["reservoir_vs_offline50"]) and figures["vs_files"] > 0
        assert {"p99_vs_uniform", "p50_vs_uniform", "p99_vs_uniform_breed_range", "p50_vs_uniform_residual"} <= set(figures)
        assert figures["p99_vs_uniform"] > 0 and 0 <= figures["steering_difficulty"] < 1
        assert sum("reservoir, melissa-style" in line for line in lines) == 1


@pytest.mark.parallel([3])
def test_without_zeromq_its_figures_are_left_open(world, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    figures = transport(world, 4)
    assert figures["bytes_vs_zmq"] is None and figures["bytes_per_second"] > 0
