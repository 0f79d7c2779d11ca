"""Convolutions of few channels against torch, in all sizes that fill vectors, patches and blocks of channels or do not."""

import os
import platform
import subprocess
import sys

import pytest
import torch
from torch.nn import functional

from hpcml.core.errors import ShapeError
from hpcml.kernels.compiler import find_compiler
from hpcml.kernels.conv import CONVOLVE, convolve, fits, weight_gradient
from hpcml.kernels.conv_choice import ConvChoice
from hpcml.models.layers.convolution import Convolution

# (batch, in_channels, out_channels, cells, taps, padding)
CASES = [
    (1, 1, 1, (1, 1), (1, 1), (0, 0)),
    (2, 3, 8, (5, 7), (3, 3), (1, 1)),
    (1, 8, 8, (9, 64), (3, 3), (1, 1)),
    (2, 9, 5, (4, 33), (2, 5), (0, 2)),
    (1, 2, 17, (6, 150), (3, 3), (2, 0)),
    (1, 17, 3, (13, 20), (7, 7), (3, 3)),
    (2, 4, 2, (8, 9), (3, 4), (4, 5)),  # windows that lie in the zeros alone
]
# Sums of at most 64 x 49 products of size 1, in another order than torch's.
TOLERANCE = {torch.float32: 2e-5, torch.float64: 4e-14}


def random(shape, dtype, device, seed):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed)).to(device)


def error(ours, expected):
    """Largest difference, in units of the size of a result."""
    return (ours.cpu() - expected.cpu()).abs().max() / expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_output_and_gradients_are_those_of_torch(backend, device, case, dtype):
    batch, inputs, outputs, cells, taps, padding = case
    x = random((batch, inputs, *cells), dtype, device, 0).requires_grad_()
    weight = random((outputs, inputs, *taps), dtype, device, 1).requires_grad_()
    bias = random((outputs,), dtype, device, 2).requires_grad_()
    expected = functional.conv2d(x, weight, bias, padding=padding)
    dy = random(expected.shape, dtype, device, 3)
    dx, dw, db = torch.autograd.grad(expected, (x, weight, bias), dy)
    with torch.no_grad():
        assert error(convolve(x, weight, bias, padding), expected) < TOLERANCE[dtype]
        around = tuple(k - 1 - pad for k, pad in zip(taps, padding, strict=True))
        assert error(convolve(dy, weight, None, around, adjoint=True), dx) < TOLERANCE[dtype]
        ours = weight_gradient(dy, x, taps, padding)
        assert error(ours[0], dw) < TOLERANCE[dtype] and error(ours[1], db) < TOLERANCE[dtype]


def test_views_are_read_where_they_lie(backend, device):
    block = random((2, 6, 12, 40), torch.float64, device, 0)
    weight = random((4, 3, 3, 3), torch.float64, device, 1)
    inside, turned = block[:, ::2, 1:-1, 3:35], block[:, :3].transpose(2, 3)
    for x in (inside, turned, block[:1, :3].expand(2, -1, -1, -1)):
        assert torch.equal(convolve(x, weight), convolve(x.contiguous(), weight))
        dy = random((2, 4, x.shape[2] - 2, x.shape[3] - 2), torch.float64, device, 2)
        assert all(map(torch.equal, weight_gradient(dy, x, (3, 3)), weight_gradient(dy, x.contiguous(), (3, 3))))


def test_any_launch_shape_gives_the_same_bits():
    x, weight = random((2, 3, 9, 20), torch.float64, "cpu", 0), random((9, 3, 3, 3), torch.float64, "cpu", 1)
    whole, pieces = convolve(x, weight), torch.empty(2, 9, 7, 18, dtype=torch.float64)
    sizes = (2, 9, 3, 7, 18, 9, 20, 0, 0, 3, 3, 0)
    launch = ((1, 2, 3), (1, 1, 2))
    CONVOLVE(pieces, x, weight, None, *sizes, *pieces.stride()[:3], *x.stride()[:3], extent=(18, 7, 2), shape=launch, imitate=True)
    assert torch.equal(whole, pieces)


@pytest.mark.skipif(platform.machine() != "x86_64" or not find_compiler(), reason="needs a compiler for x86")
def test_short_vector_registers(tmp_path):
    """What a patch holds beside its cells must reach as far as seven taps, also where a register holds two numbers."""
    code = """if True:
        import torch
        from hpcml.kernels.conv import convolve, weight_gradient
        x, w = torch.randn(1, 3, 9, 20, dtype=torch.float64), torch.randn(2, 3, 7, 7, dtype=torch.float64, requires_grad=True)
        y = torch.nn.functional.conv2d(x, w, padding=3)
        assert torch.allclose(convolve(x, w.detach(), padding=(3, 3)), y, atol=1e-12)  # sums of 147 products of size 1
        assert torch.allclose(weight_gradient(y.detach(), x, (7, 7), (3, 3))[0], torch.autograd.grad(y, w, y)[0], rtol=1e-12, atol=1e-10)
    """
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"HPCML_CXXFLAGS": "-mno-avx", "HPCML_CACHE": str(tmp_path)}, check=True)


@pytest.mark.parametrize("kernel", [(3, 3), (1, 5)], ids=str)
def test_layers_take_the_kernel_and_the_twin_alike(kernel, monkeypatch):
    always = ConvChoice({"float64": (1, 8)}, {"float64": (1, 8)}, {})
    convolution = Convolution(kernel, (1, 1), (1, 2), (1, 1), 1, choice=always)
    x, weight, bias = (random(shape, torch.float64, "cpu", 0) for shape in ((2, 8, 6, 9), (4, 8, *kernel), (4,)))
    y = random((2, 4, 9 - kernel[0], 14 - kernel[1]), torch.float64, "cpu", 1)
    found = []
    for wish in ("auto", "twin"):
        monkeypatch.setenv("HPCML_KERNELS", wish)
        with torch.no_grad():
            found.append([convolution.forward(x, weight, bias), *convolution.backward(y, x, weight, (True, True, True))])
    for ours, torchs in zip(*found, strict=True):
        assert error(ours, torchs) < TOLERANCE[torch.float64]


def test_what_does_not_fit_is_named():
    x, weight = torch.zeros(1, 2, 5, 5), torch.zeros(3, 2, 3, 3)
    with pytest.raises(ShapeError, match=r"4 channels, \(3, 3\) taps and an output of \(3, 3\) cells do not fit x of shape \(1, 2, 5, 5\)"):
        convolve(x, torch.zeros(3, 4, 3, 3))
    with pytest.raises(ShapeError, match=r"output of \(0, 3\) cells"):
        convolve(x, torch.zeros(3, 2, 6, 3))
    with pytest.raises(ShapeError, match="room for 64 input channels and 7 taps, got 65"):
        convolve(torch.zeros(1, 65, 5, 5), torch.zeros(1, 65, 3, 3))
    with pytest.raises(ShapeError, match=r"dy of shape \(1, 3, 3, 2\)"):
        weight_gradient(torch.zeros(1, 3, 3, 2), x, (3, 3))
    with pytest.raises(ShapeError, match="array of float, got dtype float64"):
        convolve(x, weight.double())
    assert not fits(torch.zeros(1, 65, 5, 5), torch.zeros(1, 65, 3, 3)) and not fits(x, torch.zeros(3, 2, 9, 3))
    assert not fits(x.half(), weight.half())
