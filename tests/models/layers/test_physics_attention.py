"""Physics attention over ranks is what the papers write, in plain torch on all points; and what travels does not grow with these."""

import pytest
import torch
from mpi4py import MPI
from torch.nn import functional as F

from hpcml import Grid, decompose
from hpcml.core.errors import ConfigError
from hpcml.models.layers import PhysicsAttention
from tests.models.twins import EXACT, SPACES, check_twin, counted_sums, draw, error, shake

RANKS = pytest.mark.parallel([1, 2, 3])
CHANNELS, HEADS, SLICES = 8, 2, 5


def build(space, **options):
    torch.manual_seed(space.comm.rank)  # parameters are those of rank 0
    return shake(PhysicsAttention(space, CHANNELS, HEADS, SLICES, **options).double())


def conv_of(layer, x):
    """The convolution of a window on a grid of which the first dim goes on at the other end."""
    return F.conv2d(F.pad(F.pad(x, (0, 0, 1, 1), mode="circular"), (1, 1)), layer.weight, layer.bias)


def plain(layer, x):
    """The equations of the papers, head by head, for (sample, channel, row, column) or (sample, node, channel)."""
    grid = x.dim() == 4

    def project(part):
        if isinstance(part, torch.nn.Linear):
            return part(x.flatten(2).transpose(1, 2) if grid else x)
        return conv_of(part, x).flatten(2).transpose(1, 2)

    f = project(layer.values)
    u = f if layer.keys is None else project(layer.keys)
    width, heads = CHANNELS // HEADS, []
    w_q, w_k, w_v = layer.attend.weight.split(width)
    for h in range(HEADS):
        f_h, u_h = (part[..., h * width : (h + 1) * width] for part in (f, u))
        if layer.adaptive:
            first, _, second, _ = layer.warmth
            t = torch.clamp(layer.temperature[h] + F.gelu(second(F.gelu(first(u_h)))), min=0.01)
        else:
            t = layer.temperature[h].clamp(0.1, 5)
        w = torch.softmax(layer.slices(u_h) / t, -1)
        s = torch.einsum("bng,bnd->bgd", w, f_h) / (w.sum(1)[..., None] + 1e-5)
        q, k, v = s @ w_q.T, s @ w_k.T, s @ w_v.T
        heads.append(w @ (torch.softmax(q @ k.transpose(1, 2) / width**0.5, -1) @ v))
    y = layer.out(torch.cat(heads, -1))
    return y.transpose(1, 2).unflatten(2, x.shape[2:]) if grid else y


@RANKS
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("adaptive", [False, True], ids=["slices", "adaptive"])
def test_it_computes_the_equations(comm, space, adaptive):
    with SPACES[space](comm) as points:
        layer = build(points, adaptive=adaptive).eval()
        check_twin(points, layer, lambda x: plain(layer, x), draw(points, CHANNELS))


@RANKS
@pytest.mark.parametrize("adaptive", [False, True], ids=["slices", "adaptive"])
def test_a_window_on_a_grid_is_a_convolution(comm, adaptive):
    with SPACES["grid"](comm) as domain:
        layer = build(domain, adaptive=adaptive, window=3).eval()
        check_twin(domain, layer, lambda x: plain(layer, x), draw(domain, CHANNELS))


@pytest.mark.parallel([2])
@pytest.mark.parametrize("adaptive", [False, True], ids=["slices", "adaptive"])
def test_what_travels_does_not_depend_on_the_number_of_points(comm, monkeypatch, adaptive):
    """One sum forward and one backward, of as many numbers as the paper has for 10^4 points and for 10^6; then the parameters'."""
    for side in (100, 1000):
        with decompose(Grid((side, side)), comm) as domain:
            layer = PhysicsAttention(domain, CHANNELS, HEADS, SLICES, adaptive)
            x = torch.randn(1, CHANNELS, *domain.local_shape, requires_grad=True)
            with counted_sums(monkeypatch) as sums:
                layer(x).sum().backward()
            tokens = HEADS * SLICES * (CHANNELS // HEADS + 1)
            assert sums == [tokens, tokens, sum(p.numel() for p in layer.parameters())]


def test_points_in_another_order_give_the_output_in_that_order():
    with SPACES["bisection"](MPI.COMM_SELF) as graph:
        layer, x = build(graph), draw(graph, CHANNELS)
        order = torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(5))
        assert error(layer(x[:, order]), layer(x)[:, order]) <= EXACT


@pytest.mark.parallel([1, 2, 3])
def test_one_slice_is_the_mean_of_all_points(comm):
    with SPACES["empty rank"](comm) as graph:
        layer, x = shake(PhysicsAttention(graph, CHANNELS, HEADS, 1).double()), draw(graph, CHANNELS)
        width = CHANNELS // HEADS
        total = layer.values(x).sum(1, keepdim=True).unflatten(2, (HEADS, width)) / (x.shape[1] + 1e-5)
        expected = layer.out((total @ layer.attend.weight[2 * width :].T).flatten(2)).expand(-1, len(graph.nodes), -1)
        assert error(layer(x[graph.index]), expected) <= EXACT


@pytest.mark.parallel([1, 2, 3])
def test_noise_belongs_to_points_not_to_ranks_and_there_is_none_in_eval(comm):
    with SPACES["empty rank"](comm) as graph:
        layer, x = build(graph, adaptive=True), draw(graph, CHANNELS)
        torch.manual_seed(0)
        alone = PhysicsAttention(graph.serial(), CHANNELS, HEADS, SLICES, adaptive=True).double()
        alone.load_state_dict(layer.state_dict())
        first, second = layer(x[graph.index]), layer(x[graph.index])
        assert error(first, alone(x)[graph.index]) <= EXACT and error(second, alone(x)[graph.index]) <= EXACT
        quiet = layer.eval()(x[graph.index])
        if len(graph.nodes):
            assert not torch.equal(first, second)
        assert torch.equal(layer(x[graph.index]), quiet)


def test_noise_is_gumbels():
    """Scores of nothing but noise have mean gamma and variance pi^2 / 6, to five standard errors of 48,000 draws."""
    with decompose(Grid((40, 60)), MPI.COMM_SELF) as domain:
        layer = PhysicsAttention(domain, CHANNELS, HEADS, 10, adaptive=True)
        with torch.no_grad():
            for p in layer.parameters():
                p.zero_()
            layer.temperature.fill_(1)
            scores = layer._scores(torch.zeros(1, HEADS, 2400, CHANNELS // HEADS), layer._drawn(layer.noise, 1)).double()
        assert abs(float(scores.mean()) - 0.5772) < 5 * 1.2825 / 48000**0.5
        assert float(scores.var()) == pytest.approx(1.6449, rel=5 * 0.0096)


def test_what_cannot_be_is_refused():
    with SPACES["grid"](MPI.COMM_SELF) as domain, SPACES["bisection"](MPI.COMM_SELF) as graph:
        with pytest.raises(ConfigError, match="divisor of 8"):
            PhysicsAttention(domain, 8, 3)
        for space, window in ((graph, 3), (domain, 2)):
            with pytest.raises(ConfigError, match="an odd number of cells of a grid"):
                PhysicsAttention(space, 8, 2, window=window)
