"""Every schedule trains, moves what it should, and is measured; what is counted grows with the stages."""

import pytest

from hpcml.cli.benchmarks import graph_schedules
from hpcml.mpi.world import World


@pytest.mark.parallel([4])
def test_all_schedules_are_measured_and_meshes_counted(comm, monkeypatch):
    for name, value in {"NODES": 60, "EPOCHS": 3, "STEPS": 2, "CHANNELS": 4, "NODES_COUNTED": 200}.items():
        monkeypatch.setattr(graph_schedules, name, value)
    with World.of(comm) as world:
        rows, figures = graph_schedules.run(world)
    by_name = {row["schedule"]: row for row in rows}
    assert list(by_name) == list(graph_schedules.SCHEDULES)
    first = by_name["synchronous"]
    assert by_name["overlapped"]["error"] == pytest.approx(first["error"], rel=1e-3) and by_name["overlapped"]["MB"] == first["MB"]
    assert by_name["gpipe 4 x 1"]["error"] == pytest.approx(first["error"], rel=1e-3)
    assert by_name["gpipe 4 x 1"]["bubble"] == pytest.approx(3 / 7) and by_name["gnnpipe 4 x 1"]["bubble"] == pytest.approx(3 / 11)
    assert by_name["gpipe 4 x 1"]["MB"] == pytest.approx(by_name["gnnpipe 4 x 1"]["MB"])  # all nodes and edges, in parts
    assert figures["error_stale"] == by_name["stale"]["error"] and figures["layers_2d_8"] > figures["layers_nodes_2d_8"] > 0
