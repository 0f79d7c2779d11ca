"""Latent attention over ranks is what the paper writes: two softmaxes, the first over the points of all ranks."""

import pytest
import torch
from mpi4py import MPI
from torch.nn import functional as F

from hpcml import Grid, decompose
from hpcml.core.errors import ConfigError
from hpcml.models.layers import LatentAttention
from hpcml.models.layers.point_attention import attend_to_points
from tests.models.twins import EXACT, SPACES, check_twin, counted_sums, draw, error, shake

RANKS = pytest.mark.parallel([1, 2, 3])
HEADS, TOKENS = 2, 5


def build(space, channels=8):
    torch.manual_seed(space.comm.rank)  # parameters are those of rank 0
    return shake(LatentAttention(space, channels, HEADS, TOKENS, hidden_layers=2).double())


def plain(layer, x):
    """The equations of the paper, with torch's own attention."""
    points = x.flatten(2).transpose(1, 2) if x.dim() == 4 else x

    def perceptron(part):
        h = part.first(points)
        for hidden in part.hidden:
            h = h + F.gelu(hidden(h))
        return part.last(h).unflatten(2, (HEADS, -1)).transpose(1, 2)

    k, v, q = perceptron(layer.keys), perceptron(layer.values), layer.queries[None]
    scale = 1.0 if q.shape[-1] <= 8 else q.shape[-1] ** -0.5
    z = torch.softmax(scale * q @ k.transpose(2, 3), -1) @ v
    y = layer.out((torch.softmax(scale * k @ q.transpose(2, 3), -1) @ z).transpose(1, 2).flatten(2))
    return y.transpose(1, 2).unflatten(2, x.shape[2:]) if x.dim() == 4 else y


@RANKS
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("channels", [8, 20], ids=["narrow heads", "wide heads"])
def test_it_computes_the_equations(comm, space, channels):
    with SPACES[space](comm) as points:
        layer = build(points, channels)
        check_twin(points, layer, lambda x: plain(layer, x), draw(points, channels))


@pytest.mark.parallel([2])
def test_what_travels_does_not_depend_on_the_number_of_points(comm, monkeypatch):
    """Beside a maximum, one sum forward and one backward; then the parameters'."""
    for side in (100, 1000):
        with decompose(Grid((side, side)), comm) as domain:
            layer = LatentAttention(domain, 8, HEADS, TOKENS)
            x = torch.randn(1, 8, *domain.local_shape, requires_grad=True)
            with counted_sums(monkeypatch) as sums:
                layer(x).sum().backward()
            tokens = HEADS * TOKENS * (8 // HEADS + 1)
            assert sums == [tokens, tokens, sum(p.numel() for p in layer.parameters())]


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("others", [False, True], ids=["points", "points and others"])
def test_a_softmax_of_large_scores_is_that_of_one_rank(comm, others):
    """Scores of 1000 overflow where each rank does not subtract the maximum of all."""
    with SPACES["empty rank"](comm) as graph:
        generator = torch.Generator().manual_seed(0)
        scores, values, more, worth = (torch.randn(shape, generator=generator).double() for shape in ((50, 4), (50, 3), (6, 4), (6, 3)))
        scores, more = 1000 * scores, 1000 * more
        every = (torch.cat([scores, more]), torch.cat([values, worth])) if others else (scores, values)
        expected = torch.softmax(every[0], 0).T @ every[1]
        found = attend_to_points(scores[graph.nodes], values[graph.nodes], graph, (more, worth) if others else None)
        assert error(found, expected) <= EXACT


def test_heads_that_do_not_divide_the_channels_are_refused():
    with SPACES["grid"](MPI.COMM_SELF) as domain, pytest.raises(ConfigError, match="divisor of 8"):
        LatentAttention(domain, 8, 3)
