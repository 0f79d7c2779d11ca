"""The spectral convolution over ranks is the textbook formula on the whole field, and sends only the modes that it keeps."""

import itertools
import math

import pytest
import torch
from mpi4py import MPI

from hpcml.core.errors import ConfigError, ShapeError
from hpcml.fields import Grid, decompose
from hpcml.models.layers import SpectralConv
from hpcml.parallel import traffic

CASES = [((13,), (4,)), ((12,), (7,)), ((9, 12), (3, 4)), ((12, 13), (6, 7)), ((8, 7, 12), (2, 3, 4)), ((7, 8, 13), (1, 4, 7))]
ROUND_OFF = 1e-12  # the bar of the package; sums of some thousand float64 products stay near 1e-15


def process_grids(shape, size):
    grids = itertools.product(range(1, size + 1), repeat=len(shape))
    return [dims for dims in grids if math.prod(dims) == size and all(p <= n for p, n in zip(dims, shape, strict=True))]


def textbook(x, weight, bias, modes):
    """Every kept frequency by name, through the full transform of the whole field."""
    dims = tuple(range(2, x.dim()))
    spectrum = torch.fft.rfftn(x, dim=dims, norm="forward")
    frequencies = [[*range(m), *range(-m, 0)] for m in modes[:-1]] + [list(range(modes[-1]))]
    index = (..., *torch.meshgrid(*(torch.tensor(f) for f in frequencies), indexing="ij"))
    product = torch.zeros(len(x), weight.shape[1], *spectrum.shape[2:], dtype=spectrum.dtype)
    product[index] = torch.einsum("bi...,io...->bo...", spectrum[index], torch.view_as_complex(weight))
    return torch.fft.irfftn(product, x.shape[2:], dims, "forward") + bias.view(-1, *(1,) * len(dims))


def relative(ours, whole):
    return float((ours - whole).detach().abs().max() / whole.detach().abs().max())


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parallel([1, 2, 3, 4, 6])
@pytest.mark.parametrize(("shape", "modes"), CASES, ids=str)
def test_values_and_gradients_are_those_of_the_textbook(comm, float64, shape, modes):
    torch.manual_seed(0)
    whole_x, towards = torch.randn(2, 3, *shape, requires_grad=True), torch.randn(2, 5, *shape)
    for dims in process_grids(shape, comm.size):
        with decompose(Grid(shape), comm, dims=dims) as domain:
            layer = SpectralConv(domain, 3, 5, modes)
            torch.nn.init.normal_(layer.bias)
            x = whole_x.detach()[domain.index].requires_grad_()
            y, whole = layer(x), textbook(whole_x, layer.weight, layer.bias, modes)
            assert relative(y, whole[domain.index]) < ROUND_OFF
            gradients = torch.autograd.grad((y * towards[domain.index]).sum(), [x, *layer.parameters()])
            expected = torch.autograd.grad((whole * towards).sum(), [whole_x, *layer.parameters()])
            assert relative(gradients[0], expected[0][domain.index]) < ROUND_OFF
            assert all(relative(a, b) < ROUND_OFF for a, b in zip(gradients[1:], expected[1:], strict=True))


@pytest.mark.parallel([1, 2, 4])
def test_second_derivatives(comm):
    torch.manual_seed(0)
    whole_x, direction = torch.randn(2, 2, 2, 8, 6, dtype=torch.float64)
    for dims in process_grids((8, 6), comm.size):
        with decompose(Grid((8, 6)), comm, dims=dims) as domain:
            layer = SpectralConv(domain, 2, 2, (3, 3)).double()
            assert layer.weight.dtype == torch.float64
            found = []
            for net, x, d in [
                (layer, whole_x[domain.index], direction[domain.index]),
                (lambda x, w=layer: textbook(x, w.weight, w.bias, (3, 3)), whole_x, direction),
            ]:
                x = x.clone().requires_grad_()
                (gradient,) = torch.autograd.grad((net(x) ** 3).sum(), x, create_graph=True)
                found.append(torch.autograd.grad((gradient * d).sum(), x)[0])
            assert relative(found[0], found[1][domain.index]) < ROUND_OFF


@pytest.mark.parallel([2, 4])
def test_only_kept_modes_travel(comm):
    (n0, n1), (m0, m1), p = (32, 48), (5, 8), comm.size
    with decompose(Grid((n0, n1)), comm, dims=(p, 1)) as domain:
        layer, x = SpectralConv(domain, 2, 3, (m0, m1)), torch.zeros(4, 2, *domain.local_shape)
        layer(x)
        traffic.reset()
        layer(x)
        rows_sent = n0 // p * m1 * 8 * 4 * (2 + 3)  # complex64, 4 samples, 2 channels there and 3 back
        assert traffic.bytes == rows_sent * (p - 1) // p and traffic.messages == 2 * (p - 1)
        traffic.reset()
        there = 4 * 2 * n0 // p * n1 * 4 * (2 * m1 / n1) * (1 - 1 / p)  # 2 m / N of the block
        layer(x)
        assert traffic.bytes == pytest.approx(there * 5 / 2)


@pytest.mark.parallel([1, 2, 3])
def test_parameters_serve_any_resolution_and_any_rank_count(comm):
    coarse, fine = Grid((8, 10)), Grid((16, 20))
    wave = [torch.cos(2 * math.pi * (torch.arange(n)[:, None] / n + 2 * torch.arange(m) / m)) for n, m in (coarse.shape, fine.shape)]
    outputs = []
    with decompose(coarse, comm) as a, decompose(fine, comm) as b:
        first, second = SpectralConv(a, 1, 1, 3), SpectralConv(b, 1, 1, 3)
        second.load_state_dict(first.state_dict())
        for layer, whole in zip((first, second), wave, strict=True):
            outputs.append(layer.domain.gather(layer(whole[layer.domain.index][None, None])))
    assert relative(outputs[1][..., ::2, ::2], outputs[0]) < 1e-5  # float32
    assert set(first.state_dict()) == {"weight", "bias"} and first.weight.shape == (1, 1, 6, 3, 2)


@pytest.mark.parallel([1, 2])
def test_impossible_modes_and_shapes_are_named(comm):
    with decompose(Grid((8, 6)), comm) as domain:
        with pytest.raises(ConfigError, match=r"modes\[0\] = 5 is above the Nyquist frequency of a dim of 8 cells: expected 1 to 4"):
            SpectralConv(domain, 1, 1, (5, 2))
        with pytest.raises(ConfigError, match=r"modes\[1\] = 5 is above the Nyquist frequency of a dim of 6 cells: expected 1 to 4"):
            SpectralConv(domain, 1, 1, (4, 5))
        with pytest.raises(ConfigError, match="3 numbers for a field of 2 dims"):
            SpectralConv(domain, 1, 1, (1, 1, 1))
        with pytest.raises(ShapeError, match="expected its block"):
            SpectralConv(domain, 1, 1, 2)(torch.zeros(1, 1, 9, 9))


def test_complex_weights_of_earlier_versions_load():
    with decompose(Grid((8, 6)), MPI.COMM_SELF) as domain:
        layer, other = (SpectralConv(domain, 2, 2, (3, 3)) for _ in range(2))
        state = layer.state_dict()
        other.load_state_dict(state | {"weight": torch.view_as_complex(state["weight"])})
        assert torch.equal(other.weight, layer.weight)
        assert state["weight"].shape == (2, 2, 6, 3, 2)


def test_weights_of_16_bits_are_computed_with_in_float32():
    with decompose(Grid((8, 6)), MPI.COMM_SELF) as domain:
        layer, x = SpectralConv(domain, 2, 2, (3, 3)).bfloat16(), torch.ones(1, 2, 8, 6)
        wide = SpectralConv(domain, 2, 2, (3, 3))
        wide.load_state_dict(layer.state_dict())
        assert torch.equal(layer(x), wide(x))
