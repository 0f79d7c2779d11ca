"""The oracle of every layer: the serial torch layer on the whole field."""

import itertools
import math

import pytest
import torch

from hpcml.core.errors import TopologyError
from hpcml.fields import Grid, decompose

EXACT = 1e-12  # relative, float64: the same products summed in another order


def process_grids(shape, size):
    """Every way to place ``size`` ranks on a field."""
    every = itertools.product(range(1, size + 1), repeat=len(shape))
    return [dims for dims in every if math.prod(dims) == size and all(p <= n for p, n in zip(dims, shape, strict=True))]


def assert_same(ours, serial, what):
    assert ours.shape == serial.shape, f"{what}: {tuple(ours.shape)} instead of {tuple(serial.shape)}"
    scale = float(serial.abs().max()) or 1.0
    error = float((ours - serial).abs().max()) / scale
    assert error <= EXACT, f"{what}: relative error {error:.1e}"


def _gradients(y, x, parameters, cotangent):
    return torch.autograd.grad(y, [x, *parameters], cotangent)


def check_layer(comm, shape, build, serial, channels=1, batch=2, dims=None):
    """Compare a layer with torch's on every process grid: output, gradient of the input, gradients of the parameters.

    Parameters
    ----------
    build : callable
        The layer on a domain.
    serial : callable
        The whole field to the whole output; a module if the layer has parameters.
    """
    with torch.no_grad():
        shape_out = serial(torch.zeros(batch, channels, *shape, dtype=torch.float64)).shape[2:]
    for grid in [dims] if dims else process_grids(shape, comm.size):
        with decompose(Grid(shape), comm, dims=grid) as domain:
            if any(n < p for n, p in zip(shape_out, grid, strict=True)):
                with pytest.raises(TopologyError, match="own none"):
                    build(domain)
                continue
            layer = build(domain)
            parameters = []
            if isinstance(serial, torch.nn.Module):
                serial.load_state_dict(layer.state_dict())
                parameters = list(serial.parameters())
            torch.manual_seed(7)
            whole = torch.randn(batch, channels, *shape, dtype=torch.float64, requires_grad=True)
            expected = serial(whole)
            cotangent = torch.randn_like(expected)
            block = whole.detach()[domain.index].clone().requires_grad_()
            out = layer(block)
            domain_out = getattr(layer, "domain_out", domain)
            where = f"dims {grid}"
            assert domain_out.global_shape == expected.shape[2:], where
            assert_same(out.detach(), expected.detach()[domain_out.index], f"output, {where}")
            names = ["input", *dict(layer.named_parameters())]
            ours = _gradients(out, block, list(layer.parameters()), cotangent[domain_out.index])
            theirs = _gradients(expected, whole, parameters, cotangent)
            for name, mine, its in zip(names, ours, theirs, strict=True):
                assert_same(mine, its[domain.index] if name == "input" else its, f"gradient of {name}, {where}")


@pytest.fixture
def check(comm):
    """`check_layer` on the ranks of this launch."""

    def run(*args, **kwargs):
        check_layer(comm, *args, **kwargs)

    return run
