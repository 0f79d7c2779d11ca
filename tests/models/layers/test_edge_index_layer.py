"""Layers that are called with an edge_index compute over ranks what they compute on the whole graph, or are refused by name."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mpi4py import MPI
from torch import nn

from hpcml.core.errors import ConfigError
from hpcml.core.options import Choice
from hpcml.graphs import Cloud, Within
from hpcml.models.factory import build_network
from hpcml.models.layers import EdgeIndexLayer
from hpcml.models.layers.edge_index_probe import reach_of
from hpcml.topology.block import block_range
from tests.models.twins import NODES, SPACES, check_twin, deal, draw, mesh, shake

RANKS = pytest.mark.parallel([1, 2, 3])
CHANNELS = 4


class Sum(nn.Module):
    """One hop."""

    def __init__(self):
        super().__init__()
        self.own, self.other = nn.Linear(CHANNELS, 6), nn.Linear(CHANNELS, 6)

    def forward(self, x, edge_index, edge_weight=None):
        messages = self.other(x)[edge_index[0]]
        messages = messages if edge_weight is None else edge_weight[:, None] * messages
        return self.own(x).index_add(0, edge_index[1], messages)


class ByDegrees(Sum):
    """Divides by the degrees of both ends: two hops."""

    def forward(self, x, edge_index, edge_weight=None):
        weight = torch.ones_like(x[edge_index[1], 0]) if edge_weight is None else edge_weight
        degree = torch.ones_like(x[:, 0]).index_add(0, edge_index[1], weight)
        return super().forward(x, edge_index, weight * (degree[edge_index[0]] * degree[edge_index[1]]) ** -0.5)


class Centred(Sum):
    """Takes the mean of all nodes away."""

    def forward(self, x, edge_index):
        return super().forward(x - x.mean(0), edge_index)


class Thrice(Sum):
    """Three hops."""

    def forward(self, x, edge_index):
        for _ in range(3):
            x = x.index_add(0, edge_index[1], x[edge_index[0]])
        return x


class Pair(Sum):
    """Gives edges, too."""

    def forward(self, x, edge_index):
        return super().forward(x, edge_index), edge_index


class Dropping(Sum):
    def forward(self, x, edge_index):
        return nn.functional.dropout(super().forward(x, edge_index), 0.5, self.training)


class Cached(ByDegrees):
    """Keeps the degrees of the first call, as layers with ``cached=True`` do."""

    degrees = None

    def forward(self, x, edge_index):
        if self.degrees is None:
            self.degrees = torch.ones_like(x[:, 0]).index_add(0, edge_index[1], torch.ones_like(x[edge_index[1], 0]))
        return super().forward(x, edge_index, self.degrees[edge_index[1]] ** -1.0)


class Counting(Sum):
    """Counts in a buffer what it has seen."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x, edge_index):
        self.seen += edge_index.shape[1]
        return super().forward(x, edge_index)


class Failing(Sum):
    def forward(self, x, edge_index):
        return super().forward(x[:, : CHANNELS - 1], edge_index)


def geometric():
    """Layers of PyTorch Geometric as they are, with the hops that they read; there are none where it is not installed."""
    try:
        from torch_geometric.nn import GATConv, GCNConv, GraphConv, SAGEConv, TransformerConv
    except ImportError:
        return {}
    return {
        "GraphConv": (lambda: GraphConv(CHANNELS, 6), 1, True),
        "SAGEConv": (lambda: SAGEConv(CHANNELS, 6), 1, False),
        "GATConv": (lambda: GATConv(CHANNELS, 3, heads=2), 1, False),
        "TransformerConv": (lambda: TransformerConv(CHANNELS, 3, heads=2), 1, False),
        "GCNConv": (lambda: GCNConv(CHANNELS, 6), 2, True),
    }


LAYERS = {"one hop": (Sum, 1, True), "by degrees": (ByDegrees, 2, True)} | geometric()
EACH = pytest.mark.parametrize("name", LAYERS)


@EACH
def test_how_far_a_layer_reads_is_found(name):
    make, hops, _ = LAYERS[name]
    assert reach_of(make(), CHANNELS, [], []) == hops


@RANKS
@EACH
@pytest.mark.parametrize("way", ["bisection", "uneven"])
def test_it_is_the_layer_on_the_whole_graph(comm, name, way):
    positions, edges = mesh()
    with deal(comm, positions, edges, way) as graph:
        torch.manual_seed(comm.rank)  # parameters are those of rank 0
        layer = shake(EdgeIndexLayer(graph, LAYERS[name][0]()).double())
        whole = torch.from_numpy(edges)
        check_twin(graph, layer, lambda x: torch.stack([layer.module(each, whole) for each in x]), draw(graph, CHANNELS))


@RANKS
@pytest.mark.parametrize("name", [name for name, (_, _, weighted) in LAYERS.items() if weighted])
def test_values_of_edges_go_with_them(comm, name):
    positions, edges = mesh()
    weights = torch.rand(edges.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    with deal(comm, positions, edges, "uneven") as graph:
        torch.manual_seed(comm.rank)
        layer = shake(EdgeIndexLayer(graph, LAYERS[name][0]()).double())
        model = _With(layer, weights[graph.edges])
        whole = torch.from_numpy(edges)
        check_twin(graph, model, lambda x: torch.stack([layer.module(each, whole, weights) for each in x]), draw(graph, CHANNELS))


class _With(nn.Module):
    """A layer and the values of its edges."""

    def __init__(self, layer, weights):
        super().__init__()
        self.layer, self.weights = layer, weights

    def forward(self, x):
        return self.layer(x, self.weights)


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Centred, "Centred reads more of a graph than 2 hops"),
        (Thrice, "Thrice reads more of a graph than 2 hops"),
        (Dropping, "Dropping draws random numbers of its own"),
        (Pair, "Pair gives tuple"),
        (Cached, "Cached keeps from one call"),
        (Counting, "Counting keeps from one call"),
        (Failing, "Failing cannot be called with x"),
    ],
)
def test_what_reads_more_or_is_random_is_refused_by_name(comm, make, words):
    with deal(comm, *mesh()) as graph, pytest.raises(ConfigError, match=words):
        EdgeIndexLayer(graph, make())(draw(graph, CHANNELS).float()[graph.index])


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize("name", ["one hop", "by degrees"])
def test_of_no_sample_it_gives_none(comm, name):
    with deal(comm, *mesh(), "uneven") as graph:
        layer = EdgeIndexLayer(graph, LAYERS[name][0]())
        x = torch.zeros(0, len(graph.nodes), CHANNELS, requires_grad=True)
        y = layer(x)
        assert y.shape == (0, len(graph.nodes), 6)
        y.sum().backward()
        assert x.grad.shape == x.shape and not any(p.grad.any() for p in layer.parameters())


def test_what_is_random_in_training_only_is_taken_in_eval():
    with deal(MPI.COMM_SELF, *mesh()) as graph:
        assert EdgeIndexLayer(graph, Dropping()).eval()(torch.zeros(NODES, CHANNELS)).shape == (NODES, 6)


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("name", ["one hop", "by degrees"])
def test_it_follows_points_that_move(comm, name):
    mine = block_range(NODES, comm.size, comm.rank)
    places = mesh()[0]
    with Cloud.of(places[mine.start : mine.stop], Within(0.2), comm) as cloud:
        layer = shake(EdgeIndexLayer(cloud, LAYERS[name][0]()).double())
        for step in range(3):
            if step:
                places = places + 0.05 * np.random.default_rng(step).standard_normal(places.shape)
                cloud.move(torch.from_numpy(places[cloud.nodes]))
            ends = cloud.serial().edge_index
            check_twin(cloud, layer, lambda x, ends=ends: torch.stack([layer.module(each, ends) for each in x]), draw(cloud, CHANNELS))


@EACH
def test_a_case_names_it_by_its_import_path(name, monkeypatch):
    kind = type(LAYERS[name][0]())
    monkeypatch.setitem(sys.modules, "layers_of_mine", SimpleNamespace(**{kind.__name__: kind}))
    with deal(MPI.COMM_SELF, *mesh()) as graph, SPACES["grid"](MPI.COMM_SELF) as domain:
        model = build_network(Choice(name=f"layers_of_mine:{kind.__name__}"), graph, CHANNELS, 6)
        assert isinstance(model, EdgeIndexLayer) and isinstance(model.module, kind)
        assert model(torch.zeros(2, NODES, CHANNELS)).shape == (2, NODES, 6)
        with pytest.raises(ConfigError, match="is a model for meshes, and these data lie on a grid"):
            build_network(Choice(name=f"layers_of_mine:{kind.__name__}"), domain, CHANNELS, 6)


@pytest.mark.skipif(not geometric(), reason="PyTorch Geometric is not installed")
@pytest.mark.parallel([1, 2])
def test_a_polynomial_of_many_hops_and_dropout_of_attention_are_refused(comm):
    from torch_geometric.nn import ChebConv, GATConv, GCNConv, GraphNorm

    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = GraphNorm(CHANNELS)

        def forward(self, x, edge_index):
            return self.norm(x)

    with deal(comm, *mesh()) as graph:
        x = draw(graph, CHANNELS).float()[graph.index]
        layers = ChebConv(CHANNELS, 6, 5), GATConv(CHANNELS, 6, dropout=0.5), Normed(), GCNConv(CHANNELS, 6, cached=True)
        for layer, words in zip(layers, ("ChebConv reads", "GATConv draws", "Normed reads", "GCNConv keeps"), strict=True):
            with pytest.raises(ConfigError, match=words):
                EdgeIndexLayer(graph, layer)(x)
