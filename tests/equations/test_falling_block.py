"""Grains fall freely at first, go little into one another, leave their common momentum and come to rest; the same bits on any ranks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mpi4py import MPI

from hpcml.core.errors import ConfigError
from hpcml.equations import FallingBlock
from hpcml.graphs import Graph
from hpcml.solvers import build_solver

SMALL = FallingBlock(columns=3, rows=3, width=4.3, heights=(0.5, 1.0), speed=0.0, stiffness=500.0, damping=10.0)
COUNT = 9


def dealt(equation, comm):
    places = equation.places()
    return Graph.deal(places if comm.rank == 0 else places[:0], np.zeros((2, 0), np.int64), comm)


def motion(equation, graph, time, snapshots, samples=range(1)):
    state = equation.initial_state(graph, samples)
    steps = snapshots * int(np.ceil(time / snapshots / (0.5 * equation.stable_step(graph))))
    return build_solver(equation, graph, time / steps).rollout(state, steps, steps // snapshots)


def overlaps(equation, position):
    """Of pairs, of the floor and of both walls, below 0 where nothing touches."""
    lies = (position[..., :, None, :] - position[..., None, :, :]).norm(dim=-1)
    first, second = torch.triu_indices(*lies.shape[-2:], offset=1)
    x, y = position.unbind(-1)
    outside = torch.cat([0.5 - y, 0.5 - x, x - equation.width + 0.5], -1)
    return torch.cat([1.0 - lies[..., first, second], outside], -1)


def test_they_fall_freely_touch_little_lose_energy_and_come_to_rest():
    with dealt(SMALL, MPI.COMM_SELF) as graph:
        states = motion(SMALL, graph, 6.0, 60)
        position, velocity, acceleration, _ = SMALL.parts(states[0])
        bottom = float(position[0, :, 1].min()) - 0.5
        falling = [n for n in range(61) if 0.5 * (0.1 * n) ** 2 < bottom]
        assert len(falling) > 10
        for n in falling:  # the scheme is exact for a constant acceleration
            torch.testing.assert_close(position[n, :, 1], position[0, :, 1] - 0.5 * (0.1 * n) ** 2, rtol=1e-10, atol=1e-10)
        overlap = overlaps(SMALL, position)
        # A grain that meets the floor at speed v goes v / sqrt(k) into it: 0.06 for a fall from 1; those above push as they come.
        assert 0.01 < float(overlap.max()) < 0.15
        energy = 0.5 * velocity.square().sum((-2, -1)) + position[..., 1].sum(-1) + 0.5 * 500.0 * overlap.clamp(min=0).square().sum(-1)
        assert float(energy.diff().max()) < 1e-9
        assert float(velocity[-1].abs().max()) < 0.05 and float(acceleration[-1].abs().max()) < 0.1
        floor = 500.0 * (0.5 - position[-1, :, 1]).clamp(min=0)
        assert float(floor.sum()) == pytest.approx(COUNT, rel=2e-2)  # it carries their weight


def test_contacts_between_grains_do_not_move_the_whole():
    with dealt(SMALL, MPI.COMM_SELF) as graph:
        state = motion(SMALL, graph, 1.5, 1)[:, -1]
        position, velocity, given = SMALL.parts(state)[0].clone(), SMALL.parts(state)[1], SMALL.parts(state)[3]
        assert int((overlaps(SMALL, position)[0, : COUNT * (COUNT - 1) // 2] > 0).sum()) > 0
        position[..., 1] += 1.0
        position[..., 0] = position[..., 0] * 0.9 + 0.2  # away from floor and walls, and into one another
        pull = SMALL.acceleration(position, velocity, given, graph)
        expected = torch.tensor([0.0, -COUNT], dtype=torch.float64)
        torch.testing.assert_close(pull.sum((0, 1)), expected, rtol=1e-10, atol=1e-9)  # forces of hundreds cancel
        assert float(pull.abs().max()) > 10.0


@pytest.mark.parallel([3])
def test_ranks_move_them_with_the_bits_of_one(comm):
    low = replace(SMALL, heights=(0.02, 0.1))
    with dealt(low, comm) as graph, dealt(low, MPI.COMM_SELF) as alone:
        ends = [motion(low, part, 0.5, 3, range(3, 5)) for part in (graph, alone)]
        assert torch.equal(ends[0], ends[1][:, :, graph.nodes])
        assert bool((low.parts(ends[1][:, -1])[2].norm(dim=-1) > 2).any())  # some collide


def test_chance_belongs_to_seed_and_sample():
    with dealt(SMALL, MPI.COMM_SELF) as graph:
        first, again, other = (SMALL.initial_state(graph, range(n, n + 1), seed) for n, seed in ((2, 0), (2, 0), (2, 1)))
        assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(
    ("options", "message"), [({"width": 3.5}, "leaves a block of 6 grains no room"), ({"heights": (2.0, 1.0)}, "turn them round")]
)
def test_blocks_without_room_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        FallingBlock(**options)
