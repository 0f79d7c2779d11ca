"""A graph over ranks: a network of a user's own computes, forward and backward, what it computes on one rank."""

import numpy as np
import pytest
import torch
from mpi4py import MPI
from scipy.spatial import Delaunay

from hpcml.core.errors import CommunicationError, ConfigError, ShapeError
from hpcml.graphs import Graph
from hpcml.mpi.reductions import all_sum
from hpcml.topology.block import block_range

NODES, CHANNELS = 90, 3
SAME_BUT_FOR_THE_ORDER_OF_SUMS = {"rtol": 1e-12, "atol": 1e-13}


def block(count, comm):
    mine = block_range(count, comm.size, comm.rank)
    return slice(mine.start, mine.stop)


def triangulation(dims=2, hops=1):
    """Positions and edges both ways; with one edge twice, one from a node to itself, and a node without any."""
    rng = np.random.default_rng(dims)
    points = rng.random((NODES, dims))
    cells = Delaunay(points[1:]).simplices + 1
    pairs = np.concatenate([cells[:, [i, j]] for i in range(dims + 1) for j in range(dims + 1) if i != j])
    edges = np.unique(pairs, axis=0)
    if hops == 2:
        near = np.zeros((NODES, NODES), bool)
        near[tuple(edges.T)] = True
        edges = np.argwhere(near @ near)
    return points, np.concatenate([edges, edges[:1], [[5, 5]]]).T


def network(graph, layer, x):
    """Two rounds of messages, attention among them, by all that a graph offers."""
    for _ in range(2):
        messages = layer(torch.cat([graph.at_begins(x), graph.at_ends(x), graph.along], 1))
        messages = messages * graph.softmax(messages[:, :1])
        x = x + sum(graph.aggregate(messages, how) for how in ("sum", "mean", "max"))
    return x


def layer_of(dims):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(2 * CHANNELS + dims, 8), torch.nn.Tanh(), torch.nn.Linear(8, CHANNELS)).double()


def ways(comm):
    uneven = np.random.default_rng(3).integers(0, max(comm.size - 1, 1), NODES)  # the last of several ranks has no node
    return {"bisection": "bisection", "curve": "curve", "map": uneven[block(NODES, comm)]}


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize("way", ["bisection", "curve", "map"])
@pytest.mark.parametrize(("dims", "hops"), [(2, 1), (3, 1), (2, 2)])
def test_a_network_computes_what_it_computes_on_one_rank(comm, way, dims, hops):
    points, edges = triangulation(dims, hops)
    values, layer = torch.from_numpy(np.random.default_rng(0).standard_normal((NODES, CHANNELS))), layer_of(dims)

    def run(graph):
        x = values[graph.nodes].requires_grad_()
        y = network(graph, layer, x)
        force = torch.autograd.grad(y.square().sum(), x, create_graph=True)[0]  # a gradient in the loss
        loss = y.square().sum() + force.square().sum()
        return y, torch.autograd.grad(loss, [x, *layer.parameters()])

    with (
        Graph.deal(points, edges, MPI.COMM_SELF) as whole,
        Graph.deal(points[block(NODES, comm)], edges[:, block(edges.shape[1], comm)], comm, ways(comm)[way]) as graph,
    ):
        expected, (slope, *by_weights) = run(whole)
        found, (own_slope, *own_by_weights) = run(graph)
        assert all_sum(len(graph.nodes), comm) == graph.num_points_global == NODES
        torch.testing.assert_close(found, expected[graph.nodes], **SAME_BUT_FOR_THE_ORDER_OF_SUMS)
        scale = slope.abs().max()
        torch.testing.assert_close(own_slope / scale, slope[graph.nodes] / scale, rtol=0, atol=1e-12)
        for mine, all_of_it in zip(own_by_weights, by_weights, strict=True):
            scale = all_of_it.abs().max()
            torch.testing.assert_close(all_sum(mine, comm) / scale, all_of_it / scale, rtol=0, atol=1e-12)


@pytest.mark.parallel([1, 2, 3])
def test_ghosts_are_the_foreign_nodes_at_which_own_edges_begin(comm):
    points, edges = triangulation()
    with Graph.deal(points[block(NODES, comm)], edges[:, block(edges.shape[1], comm)], comm) as graph:
        own = set(graph.nodes.tolist())
        mine = [(begin, end) for begin, end in edges.T.tolist() if end in own]
        assert set(graph.ghosts.tolist()) == {begin for begin, _ in mine} - own
        names = torch.cat([graph.nodes, graph.ghosts])
        assert sorted(zip(names[graph.edge_index[0]].tolist(), graph.nodes[graph.edge_index[1]].tolist(), strict=True)) == sorted(mine)
        assert np.array_equal(
            edges[:, graph.edges.numpy()].T, torch.stack([names[graph.edge_index[0]], graph.nodes[graph.edge_index[1]]], 1)
        )


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"positions": np.full((4, 2), np.nan)}, "lies at"),
        ({"positions": np.zeros((4, 4))}, r"\(node, 1 to 3\)"),
        ({"edges": np.array([[0], [99]])}, "nodes 0 to 99"),
        ({"edges": np.zeros((2, 1))}, "integers"),
        ({"edges": np.array(5)}, "integers"),
        ({"method": "metys"}, "bisection, curve"),
        ({"method": np.zeros(3, int)}, "map of 4 nodes"),
        ({"method": np.full(4, 77)}, "from 0 to"),
    ],
)
def test_what_is_wrong_is_said_on_every_rank(comm, change, words):
    whole = {"positions": np.random.default_rng(0).random((4, 2)), "edges": np.zeros((2, 0), int)}
    with pytest.raises(ShapeError, match=words):
        Graph.deal(**whole | (change if comm.rank == comm.size - 1 else {}), world=comm)


def test_an_aggregation_that_does_not_exist_is_told_with_those_that_do():
    graph = Graph.deal(np.zeros((2, 1)), np.array([[0], [1]]), MPI.COMM_SELF)
    with pytest.raises(ConfigError, match="sum, mean, max"):
        graph.aggregate(torch.ones(1, 1), "median")


@pytest.mark.parallel([1, 2, 3])
def test_the_whole_graph_on_one_rank_is_the_graph_that_was_dealt(comm):
    points, edges = triangulation()
    with Graph.deal(points[block(NODES, comm)], edges[:, block(edges.shape[1], comm)], comm) as graph:
        whole, expected = graph.serial(), Graph.deal(points, edges, MPI.COMM_SELF)
        assert whole is graph.serial() and torch.equal(whole.edge_index, expected.edge_index)
        assert torch.equal(whole.positions, expected.positions) and torch.equal(whole.edges, expected.edges)


@pytest.mark.parallel([1, 2])
def test_samples_are_computed_together_as_one_by_one(comm):
    points, edges = triangulation()
    x = torch.randn(4, NODES, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with Graph.deal(points[block(NODES, comm)], edges[:, block(edges.shape[1], comm)], comm) as graph:
        own = x[graph.index]
        for how in ("sum", "mean", "max"):
            together = graph.aggregate(graph.at_begins(own) * graph.softmax(graph.at_ends(own)), how)
            one_by_one = [graph.aggregate(graph.at_begins(each) * graph.softmax(graph.at_ends(each)), how) for each in own]
            assert torch.equal(together, torch.stack(one_by_one))


@pytest.mark.parallel([2, 3])
def test_positions_of_another_number_of_coordinates_are_refused(comm):
    with pytest.raises(ShapeError, match="as many coordinates on every rank"):
        Graph.deal(np.zeros((2, 2 + (comm.rank == 1))), np.zeros((2, 0), int), comm)


@pytest.mark.parallel([2, 3])
@pytest.mark.parametrize("how", [{"method": np.zeros(2, int)}, {"method": "curve"}, {"box": (1.0,)}])
def test_what_only_one_rank_asks_for_is_refused_on_every_rank(comm, how):
    with pytest.raises(CommunicationError, match="ranks disagree"):
        Graph.deal(np.zeros((2, 1)), np.zeros((2, 0), int), comm, **how if comm.rank == 1 else {})


def test_a_box_may_be_an_array():
    graph = Graph.deal(np.array([[0.1], [0.9]]), np.array([[0], [1]]), MPI.COMM_SELF, box=np.ones(1))
    assert graph.box == (1.0,) and abs(float(graph.along) - 0.2) < 1e-15  # one rounding of each position


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("backend", ["auto", "mpi"])
def test_values_of_any_kind_come_to_ghosts(comm, backend, monkeypatch):
    """Whether rows are whole words, which go in one call through shared memory, or not; tensors that lie in any way; no channel."""
    monkeypatch.setenv("HPCML_HALO_BACKEND", backend)
    points, edges = triangulation()
    values = torch.arange(3.0 * NODES).view(NODES, 3)
    kinds = [values.to(of) for of in (torch.float16, torch.bfloat16, torch.int16, torch.int64, torch.bool, torch.complex64)]
    kinds += [values.to(torch.complex128) * 1j, (values * 1j).conj(), values[:, :0], values.flip(1), values.T.contiguous().T]
    with Graph.deal(points[block(NODES, comm)], edges[:, block(edges.shape[1], comm)], comm) as graph:
        for kind in kinds:
            assert torch.equal(graph.with_ghosts(kind[graph.nodes]), kind[torch.cat([graph.nodes, graph.ghosts])])
        for dtype in (torch.bfloat16, torch.float32, torch.float64):
            x = values[graph.nodes].to(dtype).requires_grad_()
            (graph.with_ghosts(x) * torch.cat([graph.nodes, graph.ghosts])[:, None].to(dtype)).sum().backward()
            needed = all_sum(torch.bincount(graph.ghosts, minlength=NODES), comm)[graph.nodes] + 1  # by so many ranks, its own too
            assert torch.equal(x.grad, (needed * graph.nodes)[:, None].to(dtype).expand_as(x))  # whole numbers below 256
