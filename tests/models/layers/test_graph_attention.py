"""Attention along edges is a transformer's under a mask of edges, in plain torch on all nodes; repeated edges count twice."""

import numpy as np
import pytest
import torch
from mpi4py import MPI

from hpcml.core.errors import ConfigError, ShapeError
from hpcml.graphs import Cloud, Graph, Nearest
from hpcml.models.layers import GraphAttention
from hpcml.topology.block import block_range
from tests.models.twins import EXACT, NODES, check_twin, deal, draw, error, mesh, shake

RANKS = pytest.mark.parallel([1, 2, 3])
CHANNELS, HEADS = 16, 2


def build(graph, **options):
    torch.manual_seed(graph.comm.rank)  # parameters are those of rank 0
    return shake(GraphAttention(graph, CHANNELS, HEADS, **options).double())


def plain(layer, x, edges, positions, tokens=None):
    """The equations with a matrix of all pairs of nodes; tokens are columns more."""
    begin, end = torch.from_numpy(edges)
    count = torch.zeros(NODES, NODES, dtype=torch.float64).index_put(
        (end, begin), torch.ones(len(end), dtype=torch.float64), accumulate=True
    )

    def project(y):
        return [part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in layer.attend(y).chunk(3, -1)]

    def turn(y):
        """Each pair of channels as a complex number that is turned by the position of its node."""
        if not layer.rotary:
            return y
        dims, pairs = positions.shape[1], y.shape[-1] // 2
        each = pairs // dims
        angles = [layer.rotary * 1e-4 ** (m / each) * torch.from_numpy(positions[:, d]) for d in range(dims) for m in range(each)]
        z = torch.complex(y[..., :pairs], y[..., pairs:]) * torch.polar(torch.ones(NODES, pairs).double(), torch.stack(angles, 1))
        return torch.cat([z.real, z.imag], -1)

    def leave(y, source):
        y = y.transpose(1, 2).flatten(2)
        return layer.out(y if layer.gate is None else y * torch.sigmoid(layer.gate(source)))

    q, k, v = project(x)
    scale = q.shape[-1] ** -0.5
    weights = count * torch.exp(scale * turn(q) @ turn(k).mT)
    if tokens is None:
        return leave(weights @ v / weights.sum(-1, keepdim=True).clamp(min=1e-300), x)
    t_q, t_k, t_v = project(tokens)
    weights, every = torch.cat([weights, torch.exp(scale * q @ t_k.mT)], -1), torch.cat([v, t_v], 2)
    of_tokens = torch.softmax(scale * t_q @ torch.cat([k, t_k], 2).mT, -1) @ every
    return leave(weights @ every / weights.sum(-1, keepdim=True), x), leave(of_tokens, tokens)


@RANKS
@pytest.mark.parametrize("way", ["bisection", "curve", "uneven"])
@pytest.mark.parametrize("options", [{}, {"rotary": 3.0}, {"gated": True}], ids=str)
@pytest.mark.parametrize("dims", [2, 1])
def test_it_computes_the_equations(comm, way, options, dims):
    positions, edges = mesh()
    positions = positions[:, :dims]
    with deal(comm, positions, edges, way) as graph:
        layer = build(graph, **options)
        check_twin(graph, layer, lambda x: plain(layer, x, edges, positions), draw(graph, CHANNELS))


@RANKS
def test_tokens_attend_to_all_nodes_and_all_nodes_to_them(comm):
    positions, edges = mesh()
    with deal(comm, positions, edges, "uneven") as graph:
        layer = build(graph, rotary=3.0, gated=True)
        tokens = torch.randn(2, 3, CHANNELS, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        for which in (0, 1):

            def pair(x, act, which=which):
                y, t = act(x)
                return y if which == 0 else y + t.mean(1, keepdim=True)  # a field that depends on both

            def whole(x, pair=pair):
                return pair(x, lambda x: plain(layer, x, edges, positions, tokens))

            model = _Calling(layer, lambda x, pair=pair: pair(x, lambda x: layer(x, tokens)))
            check_twin(graph, model, whole, draw(graph, CHANNELS))


class _Calling(torch.nn.Module):
    """A layer that is called in another way."""

    def __init__(self, layer, call):
        super().__init__()
        self.layer, self.call = layer, call

    def forward(self, x):
        return self.call(x)


@RANKS
def test_it_attends_along_the_edges_of_another_graph_of_the_same_nodes(comm):
    positions, edges = mesh()
    far = np.random.default_rng(7).integers(0, NODES, (2, 200))
    with deal(comm, positions, edges) as graph, deal(comm, positions, far) as along:
        layer = build(graph, along=along)
        check_twin(graph, layer, lambda x: plain(layer, x, far, positions), draw(graph, CHANNELS))


@pytest.mark.parallel([1, 2, 3])
def test_large_scores_do_not_overflow_and_a_node_that_only_sees_tokens_sees_them(comm):
    positions, edges = mesh()
    with deal(comm, positions, edges) as graph:
        layer, x = build(graph), 100 * draw(graph, CHANNELS)
        tokens = torch.full((2, 3, CHANNELS), -80.0, dtype=torch.float64)
        y, t = layer(x[graph.index], tokens)
        assert torch.isfinite(y).all() and torch.isfinite(t).all()
        lonely = graph.degrees == 0
        expected = layer.out(layer.attend(tokens).chunk(3, -1)[2].mean(1, keepdim=True))  # tokens are alike, so their mean is each of them
        assert error(y[:, lonely], expected.expand(-1, int(lonely.sum()), -1)) <= EXACT


@pytest.mark.parallel([1, 2])
def test_what_cannot_be_is_refused(comm):
    positions, edges = mesh()
    with deal(comm, positions, edges) as graph, deal(comm, positions[:20], edges[:, :0]) as other:
        with pytest.raises(ConfigError, match="divisor of 16"):
            GraphAttention(graph, 16, 3)
        with pytest.raises(ConfigError, match="multiple of 4"):
            GraphAttention(graph, 12, 2, rotary=1.0)
        with pytest.raises(ShapeError, match="other nodes"):
            GraphAttention(graph, 16, 2, along=other)


@pytest.mark.parallel([1, 2, 3])
def test_a_graph_that_went_other_ways_is_refused_on_every_rank(comm):
    """Points that two ranks have exchanged, which the third does not see among its own."""
    mine = block_range(9, comm.size, comm.rank)
    points = np.arange(9.0)[mine.start : mine.stop, None]
    with Cloud.of(points, Nearest(2), comm) as graph, Cloud.of(points, Nearest(3), comm) as along:
        layer = GraphAttention(graph, 8, 2, along=along)
        places = torch.arange(9.0)
        places[[0, 5]] = places[[5, 0]]
        for moved in (along, graph):  # first apart, then together again
            moved.move(places[moved.nodes, None])
            x = torch.zeros(len(graph.nodes), 8)
            if moved is along and comm.size > 1:
                with pytest.raises(ShapeError, match="other nodes"):
                    layer(x)
            else:
                assert layer(x).shape == x.shape


def test_a_shift_of_the_mesh_changes_nothing_where_positions_only_turn():
    positions, edges = mesh()
    layer = build(Graph.deal(positions, edges, MPI.COMM_SELF), rotary=3.0)
    moved = GraphAttention(Graph.deal(positions + 0.7, edges, MPI.COMM_SELF), CHANNELS, HEADS, rotary=3.0).double()
    moved.load_state_dict(layer.state_dict())
    x = draw(layer.space, CHANNELS)
    assert error(moved(x), layer(x)) <= EXACT
