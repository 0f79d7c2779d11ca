"""A network of particles is the same over ranks, turns with them, keeps their momentum, and sees what its radius and waves let it."""

import numpy as np
import pytest
import torch
from mpi4py import MPI

import hpcml
from hpcml.core.errors import ConfigError
from hpcml.data import Pairs
from hpcml.graphs import Graph
from hpcml.models import ParticleNet
from hpcml.models.surrogate import Surrogate
from hpcml.topology.block import block_range
from hpcml.training import Trainer

PARTICLES, BOX = 24, (1.0, 1.0, 1.0)
PLACES = np.random.default_rng(0).random((PARTICLES, 3))
KINDS = {
    "near": {},
    "near, in a box": {"period": BOX},
    "far": {"cutoff": 8.0},
    "far, in a box": {"cutoff": 8.0, "period": BOX},
    "near, in walls": {"walls": ((0.0, 1.0), (0.0, float("inf")), (-float("inf"), 1.0))},
}


def dealt(comm):
    mine = block_range(PARTICLES, comm.size, comm.rank)
    return Graph.deal(PLACES[mine.start : mine.stop], np.zeros((2, 0), np.int64), comm)


def states(samples=2):
    chance = torch.Generator().manual_seed(1)
    return torch.cat(
        [torch.rand(samples, PARTICLES, 3, generator=chance), torch.randn(samples, PARTICLES, 2, generator=chance)], -1
    ).double()


def made(graph, potential, seed=0, **more):
    torch.manual_seed(seed)
    return ParticleNet(graph, 5, 3, radius=0.4, channels=8, steps=2, potential=potential, **more).double()


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("potential", [False, True], ids=["direct", "potential"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_same_over_ranks(comm, kind, potential):
    with dealt(comm) as graph:
        model = made(graph, potential, comm.rank, **KINDS[kind])
        report = hpcml.verify(model, states(), tolerance=1e-11)
        assert report.ok, str(report)
        whole = model(states()[graph.index])
        torch.testing.assert_close(model(states()[0][graph.index]), whole[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("potential", [False, True], ids=["direct", "potential"])
def test_training_over_ranks_is_training_on_one(comm, potential):
    x = states(6)
    trained = []
    for ranks in (comm, MPI.COMM_SELF):
        with dealt(ranks) as graph:
            model = made(graph, potential, **KINDS["far, in a box"])
            pairs = Pairs.of_whole(graph, x, x[..., 3:].repeat(1, 1, 2)[..., :3].sin())
            Trainer(model, pairs, loss="mse", batch_size=2, epochs=2, learning_rate=1e-2, dtype="float64").fit()
            trained.append(model.state_dict())
    for name, value in trained[0].items():
        torch.testing.assert_close(value, trained[1][name], rtol=1e-7, atol=1e-9)


def test_forces_of_a_potential_turn_with_the_particles_and_leave_momentum():
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))[0]
    with dealt(MPI.COMM_SELF) as graph:
        model, x = made(graph, True), states()
        turned = torch.cat([x[..., :3] @ turn + 5.0, x[..., 3:]], -1)
        torch.testing.assert_close(model(turned), model(x) @ turn, rtol=1e-9, atol=1e-9)
        for kind in ("near, in a box", "far, in a box"):
            forces = made(graph, True, **KINDS[kind])(x).detach()
            assert float(forces.sum(-2).abs().max()) < 1e-10 * float(forces.abs().max()) * PARTICLES
            around = x.clone()
            around[:, ::2, 0] += 3.0  # whole lengths of the box
            torch.testing.assert_close(made(graph, True, **KINDS[kind])(around), forces, rtol=1e-8, atol=1e-9)


def test_messages_go_so_far_and_waves_go_everywhere():
    """One particle moves; those that are further away than two radii notice by waves alone."""
    with dealt(MPI.COMM_SELF) as graph:
        x = states(1)
        x[0, :, :3] = 0.05 * x[0, :, :3]
        x[0, 1:, 0] += 0.5  # beyond 0.4 and whatever is left of it around the box of 1
        x[0, 0, :3] = torch.tensor([0.0, 0.5, 0.5], dtype=torch.float64)
        moved = x.clone()
        moved[0, 0, 1] += 0.01
        for kind, noticed in (("near, in a box", False), ("far, in a box", True)):
            model = made(graph, False, **KINDS[kind])
            assert bool((model(x) - model(moved))[0, 1:].any()) == noticed


def test_a_surrogate_leaves_positions_in_their_unit():
    with dealt(MPI.COMM_SELF) as graph:
        model = Surrogate(made(graph, False), 5, 3)
        model.fit_to((torch.full((5,), 2.0), torch.full((5,), 3.0)), (torch.zeros(3), torch.ones(3)))
        assert model.input_mean.tolist() == [0, 0, 0, 2, 2] and model.input_std.tolist() == [1, 1, 1, 3, 3]


def test_walls_are_felt_within_the_radius():
    with dealt(MPI.COMM_SELF) as graph:
        x = states(1)
        x[0, :, :3] = x[0, :, :3] + 5.0
        outputs = [made(graph, False, walls=((low, float("inf")),) * 3)(x) for low in (3.0, 4.0, 5.0)]
        assert torch.equal(outputs[0], outputs[1]) and not torch.allclose(outputs[0], outputs[2])
        with pytest.raises(ConfigError, match="walls are 3 pairs"):
            made(graph, False, walls=((0.0, 1.0),))


@pytest.mark.parametrize(("channels", "potential"), [((2, 3), False), ((5, 2), True)])
def test_channels_that_do_not_fit_are_refused(channels, potential):
    with dealt(MPI.COMM_SELF) as graph, pytest.raises(ConfigError, match="the input begins with positions"):
        ParticleNet(graph, *channels, radius=0.4, potential=potential)
