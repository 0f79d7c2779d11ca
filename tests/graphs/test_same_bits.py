"""Training on a graph: the same bits on any number of ranks as on one."""

import hashlib

import numpy as np
import pytest
import torch
from mpi4py import MPI
from scipy.spatial import Delaunay

import hpcml
from hpcml.core.errors import ConfigError, TopologyError
from hpcml.data import Pairs
from hpcml.graphs import Graph
from hpcml.models import MeshGraphNet
from hpcml.models.layers import Pointwise
from hpcml.mpi.patient_comm import patient
from hpcml.topology.block import block_range
from hpcml.training import Trainer

NODES = 130


def block(count, comm):
    mine = block_range(count, comm.size, comm.rank)
    return slice(mine.start, mine.stop)


def triangulation(dims=2):
    """With an edge twice, one from a node to itself, and a node without any."""
    points = np.random.default_rng(dims).random((NODES, dims))
    cells = Delaunay(points[1:]).simplices + 1
    pairs = np.concatenate([cells[:, [i, j]] for i in range(dims + 1) for j in range(dims + 1) if i != j])
    edges = np.unique(pairs, axis=0)
    return points, np.concatenate([edges, edges[:1], [[5, 5]]]).T


def dealt(comm, method="bisection", dims=2, same_bits=True):
    points, edges = triangulation(dims)
    if method == "map":
        method = np.random.default_rng(3).integers(1, 7, NODES)[block(NODES, comm)]  # of eight tiles two have no node
    return Graph.deal(points[block(NODES, comm)], edges[:, block(edges.shape[1], comm)], comm, method, same_bits=same_bits)


def whole(graph, own):
    parts = patient(graph.comm).allgather((graph.nodes.numpy(), own.numpy()))
    field = np.empty((NODES, own.shape[-1]), own.numpy().dtype)
    for nodes, values in parts:
        field[nodes] = values
    return field


def sha(*arrays):
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def fields(dtype):
    x = torch.randn(6, NODES, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return x.to(dtype), x.roll(1, 2).sin().to(dtype)


def bits(graph, dtype, loss="mse", updates=3, **settings):
    """Of everything that a training leaves behind, and of a roll-out."""
    torch.manual_seed(0)
    x, y = fields(dtype)
    model = MeshGraphNet(graph, 2, 2, channels=12, steps=2).to(dtype)
    trainer = Trainer(model, Pairs.of_whole(graph, x, y), loss=loss, learning_rate=1e-2, batch_size=3, clip=0.5, **settings)
    trainer.fit(updates=updates)
    state = [v.numpy() for values in trainer.optimiser.state.values() for v in values.values()]
    u = x[0][graph.nodes]
    with torch.no_grad():
        for _ in range(3):
            u = model(u)
    return sha(*(p.detach().numpy() for p in model.parameters())), sha(*state), sha(whole(graph, u)), trainer.numbers.get("train_loss")


@pytest.mark.parallel([1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("method", "dims", "loss"), [("bisection", 2, "mse"), ("curve", 3, "relative_l2"), ("map", 2, "mse")])
def test_parameters_optimiser_and_rollout_have_the_bits_of_one_rank(comm, dtype, method, dims, loss):
    with dealt(comm, method, dims) as graph, dealt(MPI.COMM_SELF, method, dims) as alone:
        assert bits(graph, dtype, loss) == bits(alone, dtype, loss)


@pytest.mark.parallel([1, 2, 3])
def test_other_tiles_are_other_bits_of_the_same_numbers(comm):
    """So that the test above compares what can differ."""
    with dealt(comm) as graph, dealt(comm, same_bits=16) as finer, dealt(comm, same_bits=False) as fast:
        first, *others = (bits(g, torch.float64, updates=1) for g in (graph, finer, fast))
        for other in others:
            assert other[0] != first[0]
            np.testing.assert_allclose(other[3], first[3], rtol=1e-12)  # the loss before the first update: sums in another order


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_stopped_on_some_ranks_goes_on_on_others(comm, shared_path, dtype):
    """From all ranks to the first alone, and back."""
    with dealt(comm) as graph, dealt(MPI.COMM_SELF) as alone:
        expected = bits(alone, dtype, updates=4, schedule="constant")
        first, second = shared_path / "first", shared_path / "second"
        bits(graph, dtype, updates=2, schedule="constant", folder=first)
        if comm.rank == 0:
            assert bits(alone, dtype, updates=4, schedule="constant", folder=first) == expected
            bits(alone, dtype, updates=2, schedule="constant", folder=second)
        comm.Barrier()
        assert bits(graph, dtype, updates=4, schedule="constant", folder=second) == expected


@pytest.mark.parallel([1, 2])
def test_blocks_that_compute_again_have_the_same_bits(comm):
    with dealt(comm) as graph, dealt(MPI.COMM_SELF) as alone:
        assert bits(graph, torch.float32, recompute=True) == bits(alone, torch.float32)


@pytest.mark.parallel([1, 2, 3])
def test_it_is_the_model_of_one_rank(comm):
    with dealt(comm) as graph:
        assert hpcml.verify(MeshGraphNet(graph, 2, 2, channels=6, steps=2), torch.randn(2, NODES, 2), dtype=torch.float64).ok


@pytest.mark.parallel([1, 2, 3])
def test_a_force_in_the_loss_has_the_same_bits(comm):
    def gradients(graph):
        torch.manual_seed(0)
        model = MeshGraphNet(graph, 2, 1, channels=6, steps=2)
        x = fields(torch.float32)[0][0][graph.nodes].requires_grad_()
        energy = hpcml.parallel.sum_points(graph, graph.comm, lambda u: [u.sum()], model(x))[0]
        (force,) = torch.autograd.grad(energy, x, create_graph=True)
        hpcml.parallel.sum_points(graph, graph.comm, lambda f: [f.square().sum()], force)[0].backward()
        return sha(*(p.grad.numpy() for p in model.parameters() if p.grad is not None)), sha(whole(graph, x.grad))

    with dealt(comm) as graph, dealt(MPI.COMM_SELF) as alone:
        assert gradients(graph) == gradients(alone)


class Own(torch.nn.Module):
    """A user's network: softmax over edges, and how edges lie, in float64 as graphs have it."""

    def __init__(self, graph, dtype):
        super().__init__()
        self.space, self.dtype = graph, dtype
        of_edges = torch.nn.Sequential(torch.nn.Linear(6, 12), torch.nn.GELU(), torch.nn.Linear(12, 5)).to(dtype)
        self.of_edges = Pointwise(graph, of_edges, on="edges")
        self.of_nodes = Pointwise(graph, torch.nn.Linear(7, 2).to(dtype))

    def forward(self, x):
        graph = self.space
        along = graph.along.to(self.dtype).expand(*x.shape[:-2], -1, -1)
        messages = self.of_edges(torch.cat([graph.at_begins(x), graph.at_ends(x), along], -1))
        weights = graph.softmax(20 * messages)
        return self.of_nodes(torch.cat([x, graph.aggregate(weights * messages)], -1))


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_network_of_ones_own_with_a_softmax_over_edges_has_them(comm, dtype):
    def trained(graph):
        torch.manual_seed(0)
        x, y = fields(dtype)
        model = Own(graph, dtype)
        Trainer(model, Pairs.of_whole(graph, x, y), loss="mse", learning_rate=1e-2, batch_size=3).fit(updates=5)
        return sha(*(p.detach().numpy() for p in model.parameters())), sha(whole(graph, model(x[0][graph.nodes]).detach()))

    for dims, method in ((2, "bisection"), (2, "map")):
        with dealt(comm, method, dims) as graph, dealt(MPI.COMM_SELF, method, dims) as alone:
            assert trained(graph) == trained(alone)


@pytest.mark.parallel([1, 2])
def test_what_cannot_have_them_is_refused_on_every_rank(comm):
    with dealt(comm) as graph:
        x = torch.randn(len(graph.nodes), 2, requires_grad=True)
        with pytest.raises(ConfigError, match="gradients of ghosts"):
            graph.with_ghosts(x)
        with torch.no_grad():
            assert len(graph.with_ghosts(x)) == len(graph.nodes) + len(graph.ghosts)
        layer = torch.nn.Linear(2, 2)
        with pytest.raises(ConfigError, match="the parameter weight belongs to no layer"):
            Trainer(layer, Pairs.of_whole(graph, *fields(torch.float32)))
        with (
            hpcml.models.layers.parameters.replicated_together(layer, graph.comm, graph.tiles),
            pytest.raises(ConfigError, match="weight is used by .* at once"),
        ):
            layer(x)


@pytest.mark.parallel([2, 4])
def test_groups_of_ranks_are_refused(comm):
    points, edges = triangulation()
    with pytest.raises(TopologyError, match="order of groups"):
        Graph.deal(points[block(NODES, comm)], edges[:, :0], comm, data=2, same_bits=True)
