"""Particles of several samples are joined to those near in their own sample, and what edges need travels exactly, differentiably."""

import numpy as np
import pytest
import torch
from mpi4py import MPI

from hpcml.core.errors import ConfigError, ShapeError
from hpcml.graphs import Graph, Nearest, Within
from hpcml.graphs.near import Near
from hpcml.topology.block import block_range

PARTICLES, BOX, RADIUS = 40, (1.0, 0.0), 0.25
PLACES = np.random.default_rng(0).random((PARTICLES, 2))
STATES = torch.from_numpy(np.random.default_rng(1).uniform(-0.5, 1.5, (3, PARTICLES, 2)))  # some are outside of the box


def dealt(comm, same_bits=False):
    mine = block_range(PARTICLES, comm.size, comm.rank)
    return Graph.deal(PLACES[mine.start : mine.stop], np.zeros((2, 0), np.int64), comm, same_bits=same_bits)


def by_hand():
    lies = STATES[:, :, None] - STATES[:, None]
    lies[..., 0] -= lies[..., 0].round()
    near = (lies.square().sum(-1) <= RADIUS**2) & ~torch.eye(PARTICLES, dtype=torch.bool)
    return {(s * PARTICLES + i, s * PARTICLES + j) for s, i, j in near.nonzero().tolist()}


@pytest.mark.parallel([1, 2, 3, 4])
def test_edges_are_those_within_the_radius_in_each_sample(comm):
    with dealt(comm) as space:
        near = Near.of(space, STATES[space.index], Within(RADIUS), BOX)
        names = torch.cat([near.nodes, near.ghosts])
        mine = list(map(tuple, torch.stack([names[near.edge_index[0]], near.nodes[near.edge_index[1]]], 1).tolist()))
        every = [edge for part in comm.allgather(mine) for edge in part]
        assert set(every) == by_hand() and len(every) == len(by_hand()) == near.num_edges_global
        assert sorted(number for part in comm.allgather(near.edges.tolist()) for number in part) == list(range(len(every)))
        counts = Near.of(space, STATES[space.index], Nearest(3), BOX).degrees
        assert counts.tolist() == [3] * 3 * len(space.nodes)


@pytest.mark.parallel([1, 2, 3, 4])
def test_sums_over_neighbors_and_their_derivatives_are_those_of_one_rank(comm):
    def twice(space, state):
        at = state.clone().requires_grad_()
        near = Near.of(space, at, Within(RADIUS), BOX)
        energy = (
            near.aggregate(torch.exp(-near.difference(at).square().sum(-1, keepdim=True) * near.at_begins(near.rows(at)))).square().sum()
        )
        (slope,) = torch.autograd.grad(energy, at, create_graph=True)
        (curved,) = torch.autograd.grad(slope.pow(3).sum(), at)
        return slope.detach(), curved

    with dealt(comm) as space, dealt(MPI.COMM_SELF) as alone:
        for own, whole in zip(twice(space, STATES[space.index]), twice(alone, STATES), strict=True):
            torch.testing.assert_close(own, whole[space.index], rtol=1e-12, atol=1e-12)


@pytest.mark.parallel([1, 2, 3])
def test_what_cannot_be_joined_is_refused_on_every_rank(comm):
    with dealt(comm) as space:
        with pytest.raises(ShapeError, match=r"positions of particles are \(sample"):
            Near.of(space, STATES[space.index][0], Within(RADIUS), BOX)
        lost = STATES[space.index].clone()
        if comm.rank == comm.size - 1:
            lost[0, 0, 0] = np.nan
        with pytest.raises(ShapeError, match="lies at"):
            Near.of(space, lost, Within(RADIUS), BOX)
    with dealt(comm, same_bits=True) as space, pytest.raises(ConfigError, match="leave same_bits out"):
        Near.of(space, STATES[space.index], Within(RADIUS), BOX)
