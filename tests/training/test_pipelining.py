"""A network over stages computes, and has the gradients, of one that is not, whatever the stages and micro-batches."""

import numpy as np
import pytest
import torch
from mpi4py import MPI

from hpcml.core.errors import ConfigError, TopologyError
from hpcml.fields import Grid, decompose
from hpcml.graphs import Graph, Overlapped
from hpcml.models import FNO, GraphMixer, MeshGraphNet, MeshTransformer, PhysicsAttentionNet, UNet
from hpcml.models.layers import Dropout
from hpcml.mpi.reductions import all_sum
from hpcml.parallel import Stages
from hpcml.parallel.recent import MOST
from hpcml.training.bubble import bubble_share
from hpcml.training.pipelining import pipeline
from tests.graphs.test_graph import NODES, block, triangulation

SAMPLES = 5
ROUNDING = {"rtol": 1e-12, "atol": 1e-12}
"""Relative to the largest number of a field or of all gradients, some of which are rounding alone: sums go in another order."""


def on_mesh(comm):
    points, edges = triangulation()
    return Graph.deal(points[block(NODES, comm)], edges[:, block(edges.shape[1], comm)], comm)


def on_grid(comm):
    return decompose(Grid((12, 8), periodic=(True, False)), comm)


MODELS = {
    "mesh graph net": (on_mesh, lambda s: MeshGraphNet(s, 2, 1, channels=6, steps=3, hidden_layers=1)),
    "with waves": (on_mesh, lambda s: MeshGraphNet(s, 2, 1, channels=6, steps=2, hidden_layers=1, differences=2.0, cutoff=9.0)),
    "mixer": (on_mesh, lambda s: GraphMixer(s, 2, 1, channels=4, layers=2, patches=3)),
    "transformer": (on_mesh, lambda s: MeshTransformer(s, 2, 1, channels=8, layers=3, heads=2, tokens=2)),
    "physics attention": (on_grid, lambda s: PhysicsAttentionNet(s, 2, 1, channels=8, layers=3, heads=2, slices=3)),
    "fno": (on_grid, lambda s: FNO(s, 2, 1, channels=4, modes=3, layers=2)),
}


def scaled(found, expected):
    if isinstance(expected, dict):
        found, expected = (torch.cat([values[key].flatten() for key in sorted(expected)]) for values in (found, expected))
    scale = float(expected.abs().max()) if expected.numel() else 1.0
    torch.testing.assert_close(found / scale, expected / scale, **ROUNDING)


def whole_batch(space, channels, seed):
    numbers = torch.Generator().manual_seed(seed)
    shape = (SAMPLES, channels, *space.global_shape) if space.channel_dim == 1 else (SAMPLES, *space.global_shape, channels)
    return torch.randn(shape, dtype=torch.float64, generator=numbers)


def run(space, model, weight):
    x = whole_batch(space, 2, 0)[space.index].requires_grad_()
    y = model(x)
    (weight[space.index] * y.square()).sum().backward()
    return y.detach(), x.grad, {name: p.grad for name, p in model.named_parameters()}


def stage_counts(size):
    return [k for k in (1, 2, 3, 4) if size % k == 0]


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("micro_batches", [1, 3])
def test_output_and_gradients_are_those_without_stages(comm, name, micro_batches):
    make_space, make = MODELS[name]
    with make_space(MPI.COMM_SELF) as alone:
        torch.manual_seed(0)
        serial = make(alone).double()
        weight = whole_batch(alone, 1, 1)
        expected = run(alone, serial, weight)
    for number in stage_counts(comm.size):
        with Stages(comm, number) as stages, make_space(stages.comm) as space:
            torch.manual_seed(comm.rank)
            model = make(space).double()
            model.load_state_dict(serial.state_dict())
            done = pipeline(model, stages, micro_batches)
            y, slope, slopes = run(space, model, weight)
            index = space.index
            scaled(y, expected[0][index])
            scaled(slope, expected[1][index])
            scaled(slopes, expected[2])
            done.close()


@pytest.mark.parallel([2, 3, 4])
def test_stages_wait_for_as_long_as_they_have_to(comm):
    pieces = 4 * comm.size
    with Stages(comm, comm.size) as stages:
        torch.manual_seed(0)
        model = torch.nn.Sequential(*(torch.nn.Linear(3, 3) for _ in range(comm.size)))
        run = pipeline(model, stages, pieces)
        model(torch.randn(pieces, 3)).sum().backward()
        share = bubble_share(comm.allgather(run.done))
        run.close()
    expected = (comm.size - 1) / (pieces + comm.size - 1)
    assert share == pytest.approx(expected, rel=0.1)


def test_a_bubble_is_counted_from_what_was_done():
    one_by_one = [("forward", 0), ("backward", 0), ("forward", 1), ("backward", 1)]
    assert bubble_share([one_by_one, one_by_one]) == 0.5
    with pytest.raises(ValueError, match="waits for a step"):
        bubble_share([[("forward", 0)], [("forward", 1)]])


@pytest.mark.parallel([2, 4])
def test_stages_overlap_their_ghosts_and_share_data(comm):
    with Stages(comm, 2) as stages, on_mesh(stages.comm) as space:
        torch.manual_seed(0)
        model = MeshGraphNet(space, 2, 1, channels=6, steps=2).double()
        weight = whole_batch(space, 1, 1)
        expected = run(space, model, weight)
        model.zero_grad()
        space.schedule = Overlapped()
        pipeline(model, stages, 2)
        found = run(space, model, weight)
        scaled(found[0], expected[0])
        scaled(found[2], expected[2])


@pytest.mark.parallel([1, 2])
def test_what_is_drawn_is_drawn_again(comm):
    """Masks of a dropout, in the recomputation, are those of the forward pass: the gradient is that of the values that were there."""
    with Stages(comm, comm.size) as stages, on_mesh(stages.comm) as space:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(2, 8), Dropout(space, 0.5), torch.nn.Linear(8, 1)).double()
        pipeline(model, stages, 2)
        x = whole_batch(space, 2, 0)[space.index]
        y = model(x)
        (slope,) = torch.autograd.grad(y.square().sum(), model[2].weight)
        with torch.no_grad():  # y is linear in the last weight: sum of 2 y dy/dw w = 2 y (y - bias)
            expected = all_sum((2 * y * (y - model[2].bias)).sum() / comm.size, comm)
        scaled((slope * model[2].weight.detach()).sum(), expected)


@pytest.mark.parallel([1, 2])
def test_without_a_gradient_nothing_is_kept(comm):
    with Stages(comm, comm.size) as stages:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Tanh(), torch.nn.Linear(3, 3))
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
        expected = model(x)
        run = pipeline(model, stages, 2)
        with torch.no_grad():
            found = model(x)
        torch.testing.assert_close(found, expected)
        assert not found.requires_grad and run.done == [("forward", 0), ("forward", 1)]


@pytest.mark.parallel([1, 2])
def test_what_cannot_be_cut_into_stages_is_refused_on_every_rank(comm):
    with pytest.raises(TopologyError, match="cannot be cut into 5 stages"):
        Stages(comm, 5)
    with Stages(comm, comm.size) as stages, on_grid(stages.comm) as grid, on_mesh(stages.comm) as mesh:
        with pytest.raises(ConfigError, match="UNet is not run part by part"):
            pipeline(UNet(grid, 1, 1, channels=4, levels=2), stages)
        with pytest.raises(ConfigError, match="1 micro-batch or more"):
            pipeline(MeshGraphNet(mesh, 1, 1, channels=4), stages, 0)
        if comm.size > 1:
            short = torch.nn.Sequential(torch.nn.Linear(2, 2))
            pipeline(short, stages)
            with pytest.raises(ConfigError, match="1 parts, too few for"):
                short(torch.zeros(4, 2))


def test_numbers_of_samples_need_not_be_divisible():
    with Stages(MPI.COMM_SELF, 1) as stages:
        model = torch.nn.Sequential(torch.nn.Linear(1, 1))
        run = pipeline(model, stages, 8)
        y = model(torch.from_numpy(np.ones((3, 1), np.float32))).sum()
        y.backward(retain_graph=True)
        with pytest.raises(ConfigError, match="asked for twice"):
            y.backward()
        assert len(run.done) == 6 and model[0].weight.grad.item() == 3


class Masked(torch.nn.Module):
    """Two buffers that nobody changes, and one that does."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
        self.register_buffer("chosen", torch.tensor([True, False]))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.calls += 1
        return torch.softmax(x + self.mask, -1) * self.chosen


@pytest.mark.parallel([1, 2])
def test_buffers_are_those_of_the_stage_that_has_changed_them(comm):
    network = torch.nn.Sequential(Masked(), torch.nn.Linear(2, 2))
    with Stages(comm, comm.size) as stages:
        run = pipeline(network, stages, micro_batches=3)
        for _ in range(2):
            assert network(torch.ones(4, 2)).isfinite().all()
        run.close()
    assert network[0].mask.tolist() == [0.0, -torch.inf] and network[0].chosen.tolist() == [True, False]
    assert int(network[0].calls) == 6


@pytest.mark.parallel([3])
def test_more_shapes_than_are_kept_come_and_go(comm):
    network = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(3)))
    with Stages(comm, comm.size) as stages:
        run = pipeline(network, stages, micro_batches=1)
        for samples in [*range(1, MOST + 3), *range(1, 5)]:
            network(torch.ones(samples, 2)).sum().backward()
        run.close()
