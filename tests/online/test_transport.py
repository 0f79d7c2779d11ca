"""Blocks go from any ranks to any ranks: whole, once, and no more at a time than there is room for."""

import itertools

import numpy as np
import pytest
import torch

from hpcml.online.inlet import open_lanes
from hpcml.online.message import END, HEADER
from hpcml.online.outlet import Outlet
from hpcml.parallel.layout import Layout
from hpcml.topology.process_grid import choose_dims

SHAPE = (7, 5)


def whole(step):
    return torch.arange(2 * 35, dtype=torch.float64).view(2, *SHAPE) + 1000 * step


def block(layout, rank):
    return (slice(None), *(slice(*r) for r in layout.box(rank)))


@pytest.mark.parallel([1, 2, 3, 4])
def test_each_trainer_gets_the_cells_of_the_serial_field_and_no_others_travel(world):
    comm = world.comm
    for m, n in itertools.product((1, 2, 3), (1, 2, 4)):
        if max(m, n) > comm.size:
            continue
        source = Layout.blocks(SHAPE, choose_dims(SHAPE, m))  # roles may overlap here: a rank sends to itself
        target = Layout.blocks(SHAPE, choose_dims(SHAPE, n))
        channel = comm.Dup()
        lanes = open_lanes(channel, [source], target, 2, 1, torch.float64, slots=2) if comm.rank < n else []
        outlet = Outlet(channel, source, [target], 2, 1, torch.float64, slots=2) if comm.rank < m else None
        moved = 0
        for step in range(5):
            if outlet is not None:
                outlet.send(0, 3, step, [0.25], whole(step)[block(source, comm.rank)], True, 1.5)
            for lane in lanes:
                while not lane.arrived():
                    pass
                header, got = lane.header, torch.zeros(2, *target.local_shape(comm.rank), dtype=torch.float64)
                assert (header["simulation"], header["step"], header["finite"], header["busy"]) == (3, step, 1, 1.5)
                assert lane.parameters.tolist() == [0.25]
                lane.copy_to(got)
                assert torch.equal(got, whole(step)[block(target, comm.rank)])
                moved += sum(ring[0].memory.nbytes - HEADER.itemsize - 8 for ring in lane._rings.values())
                lane.advance()
        assert comm.allreduce(moved) == 5 * whole(0).numel() * 8
        if outlet is not None:
            started = [way.requests[way.next] for ways in outlet._ways for way in ways]
            assert started
        _end_together(outlet, lanes)
        comm.Barrier()
        channel.Free()


def _end_together(outlet, lanes):
    """A rank that has both roles: what it sends last it takes itself."""
    if outlet is not None:
        for way in (way for ways in outlet._ways for way in ways):
            outlet._free_slot(way).header["kind"] = END
            way.start()
    for lane in lanes:
        while not lane.arrived():
            pass
        assert lane.header["kind"] == END
        lane.advance()
        assert lane.ended and not lane.arrived()
    if outlet is not None:
        for way in (way for ways in outlet._ways for way in ways):
            while not all(request.Test() for request in way.requests):
                pass
        outlet.close()


@pytest.mark.parallel([2])
def test_a_sender_waits_once_as_many_are_under_way_as_there_are_slots(world):
    comm = world.comm.Dup()
    source, target = (Layout(SHAPE, tuple(((0, n),) for n in SHAPE), first) for first in (1, 0))
    if comm.rank == 0:
        lanes = open_lanes(comm, [source], target, 2, 0, torch.float64, slots=3)
        comm.barrier()  # as much has been sent as there is room for
        got = torch.zeros(2, *SHAPE, dtype=torch.float64)
        for step in range(20):
            while not lanes[0].arrived():
                pass
            lanes[0].copy_to(got)
            assert lanes[0].header["step"] == step and torch.equal(got, whole(step))
            lanes[0].advance()
        while not lanes[0].arrived():
            pass
        lanes[0].advance()
    else:
        outlet = Outlet(comm, source, [target], 2, 0, torch.float64, slots=3)
        way = outlet._ways[0][0]
        for step in range(3):
            outlet.send(0, 0, step, [], whole(step), True, 0.0)
        comm.barrier()
        for step in range(3, 20):
            outlet.send(0, 0, step, [], whole(step), True, 0.0)
        outlet.end()
        assert way.next == (20 + 1) % 3 and np.all([request.Test() for request in way.requests])
        outlet.close()
    comm.Free()
