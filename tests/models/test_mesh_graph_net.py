"""MeshGraphNet over ranks is MeshGraphNet on one, and is what the paper writes, in plain torch."""

import numpy as np
import pytest
import torch
from mpi4py import MPI
from scipy.spatial import Delaunay

import hpcml
from hpcml.cli.benchmarks.memory import kept_fields
from hpcml.data import Pairs
from hpcml.graphs import Graph
from hpcml.models.mesh_graph_net import MeshGraphNet
from hpcml.topology.block import block_range
from hpcml.training import Trainer
from hpcml.training.recomputation import recompute
from tests.models.twins import check_autocast, deal

NODES = 60
POINTS = np.random.default_rng(0).random((NODES, 2))
EDGES = np.unique(np.concatenate([Delaunay(POINTS).simplices[:, [i, j]] for i in range(3) for j in range(3) if i != j]), axis=0).T

WHOLE = torch.from_numpy(POINTS), torch.from_numpy(EDGES)


@pytest.fixture(params=["bisection", "curve"])
def graph(comm, request):
    nodes, edges = block_range(NODES, comm.size, comm.rank), block_range(EDGES.shape[1], comm.size, comm.rank)
    with Graph.deal(POINTS[nodes.start : nodes.stop], EDGES[:, edges.start : edges.stop], comm, request.param) as dealt:
        yield dealt


def plain(model, x, differences=0.0, where=WHOLE):
    """The equations, without a split of weights and with torch's own operations."""
    points, (begin, end) = where
    along = points[begin] - points[end]
    lie = [along, along.norm(dim=1, keepdim=True), *([differences * (x[begin] - x[end])] if differences else [])]
    v, e = model.encode_nodes(x), model.encode_edges(torch.cat(lie, 1).to(x.dtype))
    for step in model.steps:
        e = e + step.edges(torch.cat([e, v[begin], v[end]], 1))
        v = v + step.nodes(torch.cat([v, torch.zeros_like(v).index_add(0, end, e.to(v.dtype))], 1))
    return model.decode(v)


@pytest.mark.parametrize("differences", [0.0, 3.0])
def test_it_computes_the_equations(differences):
    torch.manual_seed(0)
    model = MeshGraphNet(Graph.deal(POINTS, EDGES, MPI.COMM_SELF), 3, 2, channels=8, steps=3, differences=differences).double()
    x = torch.randn(NODES, 3, dtype=torch.float64)
    torch.testing.assert_close(model(x), plain(model, x, differences), rtol=1e-12, atol=1e-12)


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("samples", [(), (2,)], ids=["one", "samples"])
def test_it_is_the_same_over_ranks(graph, samples):
    torch.manual_seed(graph.comm.rank)  # parameters are those of rank 0
    model = MeshGraphNet(graph, 3, 2, channels=8, steps=3, differences=3.0 * len(samples)).double()
    report = hpcml.verify(model, torch.randn(*samples, NODES, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    assert report.ok, str(report)


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("period", [None, (1.0, 1.0)], ids=["open", "periodic"])
def test_with_waves_every_node_sees_all_and_it_is_the_same_over_ranks(graph, period):
    torch.manual_seed(graph.comm.rank)
    model = MeshGraphNet(graph, 3, 2, channels=8, steps=1, cutoff=10.0, period=period).double()
    x = torch.randn(NODES, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    report = hpcml.verify(model, x, tolerance=1e-12)
    assert report.ok, str(report)
    own = x[graph.index].requires_grad_()
    first = graph.nodes == 0
    (slope,) = torch.autograd.grad(model(own)[first].sum(), own)
    assert (slope != 0).any(1).all()  # of one node by all others


class Plain(torch.nn.Module):
    """`plain` as a module."""

    def __init__(self, model, *where):
        super().__init__()
        self.model, self.where = model, [where] if where else []

    def forward(self, x):
        return torch.stack([plain(self.model, each, 0.0, *self.where) for each in x])


@pytest.mark.parallel([1, 2, 3])
def test_in_16_bits_it_is_as_good_as_plain_torch(comm):
    with deal(comm, POINTS, EDGES) as graph:
        check_autocast(graph, lambda g: MeshGraphNet(g, 3, 2, channels=16, steps=2), Plain, 3)


@pytest.mark.parallel([1, 2, 3])
def test_it_keeps_a_quarter_of_what_plain_torch_does_and_a_fifth_when_recomputed(comm):
    """Of its own nodes, ghosts and edges: plain torch's for a graph of these, in which ghosts are nodes without edges into them."""
    with deal(comm, POINTS, EDGES) as graph:
        points = torch.cat([graph.positions, torch.rand(len(graph.ghosts), 2)]).numpy()
        whole, own = Graph.deal(points, graph.edge_index.numpy(), MPI.COMM_SELF), len(graph.nodes)
        model, alone = (MeshGraphNet(g, 3, 2, channels=16, steps=8) for g in (graph, whole))
        x = torch.randn(1, len(points), 3)
        bytes_of_plain = kept_fields(Plain(alone, whole.positions, whole.edge_index), x) * len(points)
        kept = kept_fields(model, x[:, :own]) * own
        assert 0 < kept <= 0.25 * bytes_of_plain
        recompute(model)
        assert kept_fields(model, x[:, :own]) * own <= 0.2 * bytes_of_plain


@pytest.mark.parallel([1, 2, 3])
def test_it_learns_over_ranks_what_it_learns_on_one(graph):
    def losses(space):
        torch.manual_seed(0)
        model = MeshGraphNet(space, 1, 1, channels=8, steps=2).double()
        x = torch.randn(4, NODES, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        y = x - x.mean(1, keepdim=True) * space.positions.new_tensor(0.5)
        trainer = Trainer(model, Pairs(space, x[space.index], y[space.index]), learning_rate=1e-2, batch_size=2, schedule="constant")
        return [trainer.fit(epochs=epochs) for epochs in (1, 2, 5)]

    found, expected = losses(graph), losses(graph.serial())
    assert found == pytest.approx(expected, rel=1e-9)  # rounding, which five epochs of Adam let grow
    assert found[-1] < found[0]
