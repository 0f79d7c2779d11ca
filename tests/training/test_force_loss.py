"""Losses that hold a gradient, and several steps with given inputs, on a mesh: derivatives are those of one rank."""

import numpy as np
import pytest
import torch

import hpcml
from hpcml.training.step_losses import step_losses

NODES = 30


class Forces(torch.nn.Module):
    def __init__(self, energy):
        super().__init__()
        self.energy, self.space = energy, energy.space

    def forward(self, u):
        with torch.enable_grad():
            u = u if u.requires_grad else u.detach().requires_grad_()
            (total,) = hpcml.parallel.sum_points(self.space, self.space.comm, lambda e: [e.sum()], self.energy(u))
            return -torch.autograd.grad(total, u, create_graph=True)[0]


def graph_on(comm):
    mesh = hpcml.graphs.triangulated(np.random.default_rng(4).random((NODES, 2)))
    mine = hpcml.topology.block_range(NODES, comm.size, comm.rank)
    return hpcml.graphs.Graph.deal(mesh.points[mine.start : mine.stop], mesh.edges()[:, comm.rank :: comm.size], comm)


def numbers(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def energy_on(graph, kind):
    torch.manual_seed(0)
    if kind == "transformer":
        return hpcml.models.MeshTransformer(graph, 2, 1, channels=8, layers=2, heads=2, tokens=1).double()
    return hpcml.models.MeshGraphNet(graph, 2, 1, channels=8, steps=2, differences=1.0).double()


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["transformer", "messages"])
def test_the_gradient_of_a_loss_of_forces_is_that_of_one_rank(comm, kind):
    u, f = numbers(1, 3, NODES, 2), numbers(2, 3, NODES, 2)
    found = []
    with graph_on(comm) as graph:
        for space in (graph, graph.serial()):
            model = Forces(energy_on(space, kind))
            forces = model(u[space.index])
            loss = hpcml.training.mse(space, forces, f[space.index])
            loss.backward()
            whole = forces.detach() if space is not graph else graph.gather(forces.detach())
            # Forces do not know of what is added to energies: its gradient is nothing on one rank, and zeros over several.
            slopes = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
            assert sum(p.grad is not None and bool(p.grad.any()) for p in model.parameters()) > 10
            found.append([loss.detach(), whole, *slopes])
    for ours, alone in zip(*found, strict=True):
        torch.testing.assert_close(ours, alone, rtol=1e-10, atol=1e-10 * float(alone.abs().max()))


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("push_forward", [False, True])
def test_several_steps_with_given_inputs_are_those_of_one_rank(comm, push_forward):
    x, y = numbers(3, 2, NODES, 3), numbers(4, 2, 3, NODES, 1)  # one field to predict, two that are given and stay
    found = []
    with graph_on(comm) as graph:
        for space in (graph, graph.serial()):
            torch.manual_seed(0)
            model = hpcml.models.MeshGraphNet(space, 3, 1, channels=8, steps=1).double()
            losses = step_losses(model, hpcml.training.mse, space, x[space.index], y[space.index], push_forward)
            terms = [term.detach() for term in losses if term.backward() is None]
            found.append([sum(terms), *(p.grad for p in model.parameters())])
        u, expected = x, 0.0
        for step in range(3):
            with torch.no_grad():
                output = model(u)
            expected += float((output - y[:, step]).square().mean()) / 3
            u = torch.cat([output, x[..., 1:]], -1)
    assert float(found[1][0]) == pytest.approx(expected, rel=1e-12) and len(terms) == (3 if push_forward else 1)
    for ours, alone in zip(*found, strict=True):
        torch.testing.assert_close(ours, alone, rtol=1e-12, atol=1e-12 * float(alone.abs().max()))


@pytest.mark.parallel([1, 2])
def test_what_a_loss_does_not_reach_decays_on_any_number_of_ranks(comm):
    u, f = numbers(1, 4, NODES, 2), numbers(2, 4, NODES, 2)
    with graph_on(comm) as graph:
        model = Forces(energy_on(graph, "messages"))
        bias = list(model.parameters())[-1]
        torch.nn.init.ones_(bias)
        pairs = hpcml.data.Pairs.of_whole(graph, u, f)
        decay = {"name": "adamw", "weight_decay": 0.5}
        trainer = hpcml.training.Trainer(model, pairs, loss="mse", batch_size=2, learning_rate=0.1, schedule="constant", optimiser=decay)
        trainer.fit(epochs=1)
        assert bias.tolist() == pytest.approx([(1 - 0.1 * 0.5) ** 2])
