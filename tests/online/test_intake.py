"""Whose turn it is, and who is named when nothing comes."""

import numpy as np
import pytest
import torch
from mpi4py import MPI

from hpcml.core.errors import CommunicationError
from hpcml.fields import Grid, decompose
from hpcml.mpi.patience import lenient
from hpcml.online.inlet import open_lanes
from hpcml.online.intake import Intake
from hpcml.online.outlet import Outlet
from hpcml.parallel.layout import Layout


def places(comm):
    whole = ((0, 6),)
    return Layout((6,), (whole,), 0), [Layout((6,), (whole,), rank) for rank in range(1, comm.size)]


@pytest.mark.parallel([2, 3])
def test_a_simulation_that_hangs_is_named_with_its_rank_and_its_last_step(world, monkeypatch):
    comm = world.comm.Dup()
    target, sources = places(comm)
    if comm.rank == 0:
        domain = decompose(Grid((6,)), MPI.COMM_SELF)
        intake = Intake(comm, domain, open_lanes(comm, sources, target, 1, 0, torch.float32, 2), None, ordered=True)
        for _ in sources:
            intake.advance(intake.next_lane(waiting=True))
        monkeypatch.setenv("HPCML_PATIENCE_S", "0.5")
        with pytest.raises(CommunicationError, match="the next state after step 7 of simulation 1 .*waits for rank 1"):
            intake.next_lane(waiting=True)
        monkeypatch.delenv("HPCML_PATIENCE_S")
        with lenient():
            comm.barrier()
        intake.drain()
        assert intake.over and intake.solver_seconds == (2.5 * len(sources), 0.0)
    else:
        outlet = Outlet(comm, sources[comm.rank - 1], [target], 1, 0, torch.float32, 2)
        outlet.send(0, comm.rank, 7, [], torch.ones(1, 6), True, 2.5)
        with lenient():
            comm.barrier()
        outlet.end()
        outlet.close()
    comm.Free()


@pytest.mark.parallel([3])
def test_in_order_lanes_alternate_whoever_is_faster(world):
    comm = world.comm.Dup()
    target, sources = places(comm)
    if comm.rank == 0:
        domain = decompose(Grid((6,)), MPI.COMM_SELF)
        intake = Intake(comm, domain, open_lanes(comm, sources, target, 1, 0, torch.float32, 3), None, ordered=True)
        came, got = [], torch.zeros(1, 6)
        while not intake.over:
            lane = intake.next_lane(waiting=True)
            if lane.header["kind"] == 0:
                lane.copy_to(got)
                assert (got == float(lane.header["simulation"])).all()
                came.append((int(lane.header["simulation"]), int(lane.header["step"])))
            intake.advance(lane)
        assert came == [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2), (2, 2), (2, 3), (2, 4)]
    else:
        outlet = Outlet(comm, sources[comm.rank - 1], [target], 1, 0, torch.float32, 3)
        for step in range((3, 5)[comm.rank - 1]):
            outlet.send(0, comm.rank, step, [], torch.full((1, 6), float(comm.rank)), True, np.float64(0.0))
        outlet.end()
        outlet.close()
    comm.Free()
