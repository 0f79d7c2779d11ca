"""What treats points alone, or sums over all of them: the same bits on any number of ranks as on one, on graphs and on grids."""

import hashlib

import numpy as np
import pytest
import torch
from mpi4py import MPI

import hpcml
from hpcml import Grid, decompose
from hpcml.core.errors import ConfigError, ShapeError, TopologyError
from hpcml.graphs import Graph
from hpcml.models import FNO, MeshGraphNet, MeshTransformer, PhysicsAttentionNet, UNet
from hpcml.models.layers import (
    BatchNorm1d,
    BatchNorm2d,
    ChannelMLP,
    Dropout,
    Ewald,
    GraphAttention,
    GroupNorm,
    InstanceNorm1d,
    InstanceNorm2d,
    LatentAttention,
    LayerNorm,
    PhysicsAttention,
    Pointwise,
)
from hpcml.mpi.patient_comm import patient
from hpcml.parallel import sum_points
from hpcml.topology.block import block_range
from hpcml.training.loss import mse, relative_l2

NODES, SHAPE, CHANNELS = 90, (11, 9), 4


def graph(comm):
    """Neighbors around a ring and across it, in two dims."""
    mine = block_range(NODES, comm.size, comm.rank)
    nodes = np.arange(mine.start, mine.stop)
    ends = np.concatenate([nodes, nodes, nodes])
    edges = np.stack([np.concatenate([nodes + 1, nodes - 1, nodes * 7 + 3]) % NODES, ends])
    return Graph.deal(np.random.default_rng(0).random((NODES, 2))[nodes], edges, comm, same_bits=True)


def grid(comm):
    return decompose(Grid(SHAPE, periodic=(True, False)), comm, same_bits=True)


SPACES = {"graph": graph, "grid": grid}


def pointwise(space):
    layers = torch.nn.Sequential(torch.nn.Linear(CHANNELS, 5), torch.nn.SiLU(), torch.nn.LayerNorm(5), torch.nn.Linear(5, CHANNELS))
    return Pointwise(space, layers, channels_last=True)


def norm(space, on_graph, on_grid, **options):
    return (on_graph if isinstance(space, Graph) else on_grid)(space, CHANNELS, **options)


def transformer(graph, **options):
    return MeshTransformer(graph, CHANNELS, CHANNELS, channels=16, layers=2, heads=2, **options)


def attention_net(space, **options):
    return PhysicsAttentionNet(space, CHANNELS, CHANNELS, channels=8, layers=2, heads=2, slices=5, **options)


EVERYWHERE = {
    "ChannelMLP": lambda s: ChannelMLP(s, CHANNELS, 7, CHANNELS, num_layers=3),
    "ChannelMLP tanh": lambda s: ChannelMLP(s, CHANNELS, 7, CHANNELS, activation=torch.tanh),
    "Pointwise": pointwise,
    "Dropout": lambda s: torch.nn.Sequential(Dropout(s, 0.3), ChannelMLP(s, CHANNELS)),
    "PhysicsAttention": lambda s: PhysicsAttention(s, CHANNELS, 2, 5),
    "PhysicsAttention adaptive": lambda s: PhysicsAttention(s, CHANNELS, 2, 5, adaptive=True),
    "LatentAttention": lambda s: LatentAttention(s, CHANNELS, 2, 5),
    "GroupNorm": lambda s: GroupNorm(s, 2, CHANNELS),
    "InstanceNorm": lambda s: norm(s, InstanceNorm1d, InstanceNorm2d, affine=True, track_running_stats=True),
    "BatchNorm": lambda s: norm(s, BatchNorm1d, BatchNorm2d),
    "norm in eval": lambda s: norm(s, BatchNorm1d, BatchNorm2d).eval(),
    "Ewald": lambda s: Ewald(s, CHANNELS, 9.0),
    "Ewald in a box": lambda s: Ewald(s, CHANNELS, 9.0, period=(1.0, 1.0)),
    "slices": attention_net,
    "adaptive": lambda s: attention_net(s, attention="adaptive", dropout=0.2),
    "latents": lambda s: attention_net(s, attention="latents", positions=False),
}
ON_GRAPHS = {
    "GraphAttention": lambda g: GraphAttention(g, CHANNELS, 2),
    "MeshTransformer": lambda g: transformer(g),
    "MeshTransformer turned, with tokens": lambda g: transformer(g, tokens=3, rotary=2.0, gated=True),
    "MeshTransformer with waves": lambda g: transformer(g, cutoff=9.0),
    "MeshGraphNet with waves": lambda g: MeshGraphNet(g, CHANNELS, CHANNELS, channels=8, steps=2, cutoff=9.0),
}
CASES = [(space, name) for space in SPACES for name in EVERYWHERE] + [("graph", name) for name in ON_GRAPHS]


def whole(space, own):
    """Field on all points, the same on every rank."""
    field = torch.empty(space.whole_shape(own.shape), dtype=own.dtype)
    for index, part in patient(space.comm).allgather((space.index, own.detach())):
        field[index] = part
    return field


def sha(tensors):
    return hashlib.sha256(b"".join(t.detach().numpy().tobytes() for t in tensors)).hexdigest()


def bits(make, build, dtype, comm, loss=mse):
    """Of output, loss, and gradients of input and parameters."""
    with make(comm) as space:
        torch.manual_seed(0)
        model = build(space).to(dtype)
        generator = torch.Generator().manual_seed(1)
        shape = (2, NODES, CHANNELS) if isinstance(space, Graph) else (2, CHANNELS, *SHAPE)
        x, target = (torch.randn(shape, generator=generator).to(dtype)[space.index] for _ in range(2))
        x.requires_grad_()
        y = model(x)
        value = loss(space, y, target)
        value.backward()
        gradients = {name: sha([p.grad]) for name, p in model.named_parameters() if p.grad is not None}
        return sha([whole(space, y)]), float(value), sha([whole(space, x.grad)]), gradients, sha(model.buffers())


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("name", ["GroupNorm", "InstanceNorm", "BatchNorm", "PhysicsAttention", "Ewald", "ChannelMLP"])
@pytest.mark.parametrize("make", [graph, grid], ids=list(SPACES))
def test_numbers_are_those_of_the_layer_without_tiles(comm, make, name):
    with make(comm) as space:
        torch.manual_seed(0)
        layer = EVERYWHERE[name](space)
        x = torch.randn((2, NODES, CHANNELS) if make is graph else (2, CHANNELS, *SHAPE))
        assert hpcml.verify(layer, x, dtype=torch.float64).ok


@pytest.mark.parallel([3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("space", "name"), CASES, ids=[" ".join(case) for case in CASES])
def test_outputs_and_gradients_have_the_bits_of_one_rank(comm, space, name, dtype):
    loss = relative_l2 if "ChannelMLP" in name else mse
    found, expected = (bits(SPACES[space], (EVERYWHERE | ON_GRAPHS)[name], dtype, ranks, loss) for ranks in (comm, MPI.COMM_SELF))
    assert found == expected


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize(
    "build", [lambda d: FNO(d, modes=3), lambda d: UNet(d, levels=2), lambda d: LayerNorm(d, SHAPE)], ids=["FNO", "UNet", "LayerNorm"]
)
def test_a_model_that_cannot_have_them_says_so_when_it_is_built(comm, build):
    with grid(comm) as domain, pytest.raises(ConfigError, match="how many ranks share the space"):
        build(domain)


@pytest.mark.parallel([1, 2, 3])
def test_a_module_on_edges_says_so(comm):
    with graph(comm) as space:
        edges = torch.ones(space.edge_index.shape[1], 2)
        assert Pointwise(space, torch.nn.Linear(2, 3), on="edges")(edges).shape == (len(edges), 3)
        with pytest.raises(ShapeError, match="on='edges'"):
            Pointwise(space, torch.nn.Linear(2, 3))(edges)


def test_where_nodes_and_edges_cannot_be_told_apart_it_must_be_said():
    with Graph.deal(np.zeros((2, 1)), np.array([[0, 1], [1, 0]]), MPI.COMM_SELF, same_bits=True) as space:
        with pytest.raises(ConfigError, match="as many edges as nodes"):
            Pointwise(space, torch.nn.Linear(2, 3))
        assert Pointwise(space, torch.nn.Linear(2, 3), on="field")(torch.ones(2, 2)).shape == (2, 3)


@pytest.mark.parallel([2, 4])
def test_a_process_grid_of_two_dims_is_refused(comm):
    with pytest.raises(TopologyError, match="first dim alone"):
        decompose(Grid((8, 8)), comm, dims=(comm.size // 2, 2), same_bits=True)


@pytest.mark.parallel([1, 3])
def test_sums_over_points_are_those_of_one_rank(comm):
    with grid(comm) as domain, grid(MPI.COMM_SELF) as alone:
        x = torch.randn(2, 3, *SHAPE, generator=torch.Generator().manual_seed(0))
        sums = [sum_points(d, d.comm, lambda u: [u.sum((2, 3)), u.square().sum()], x[d.index]) for d in (domain, alone)]
        assert all(torch.equal(a, b) for a, b in zip(*sums, strict=True))
