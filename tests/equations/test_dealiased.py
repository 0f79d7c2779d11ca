"""Dealiased transforms keep the lower two thirds, invert on them, and leave products free of aliases."""

import math

import pytest
import torch

from hpcml.core.errors import ShapeError
from hpcml.equations.dealiased import Dealiased
from hpcml.fields import Grid, decompose

EXTENT = 2.0


@pytest.mark.parallel([1, 2, 3, 4, 6])
@pytest.mark.parametrize("shape", [(16, 15), (12, 18), (9, 10, 12)], ids=str)
def test_modes_are_the_low_ones_of_the_whole_field(comm, rng, shape):
    with decompose(Grid(shape, EXTENT), comm) as domain:
        field = torch.from_numpy(rng.standard_normal((2, 1, *shape)))
        transform = Dealiased(domain)
        modes = transform.modes(field[domain.index])
        numbers = [torch.round(k * EXTENT / (2 * math.pi)).long() for k in transform.waves]
        assert all(n.abs().max() <= (size - 1) // 3 for n, size in zip(numbers, shape, strict=True) if n.numel())
        spectrum = torch.fft.rfftn(field, dim=tuple(range(-len(shape), 0)))
        assert torch.allclose(modes, spectrum[(slice(None), slice(None), *numbers)], atol=1e-11)  # round-off of sums over up to 1080 cells
        assert comm.allreduce(modes[0].numel()) == math.prod([*(2 * ((n - 1) // 3) + 1 for n in shape[:-1]), (shape[-1] - 1) // 3 + 1])


@pytest.mark.parallel([1, 2, 3])
def test_the_inverse_and_the_derivative(comm):
    with decompose(Grid((12, 15), EXTENT), comm) as domain:
        transform, k = Dealiased(domain), 2 * math.pi / EXTENT
        x0, x1 = domain.centres()
        field = (torch.cos(3 * k * x0) * torch.sin(4 * k * x1))[None, None]
        modes = transform.modes(field)
        assert torch.allclose(transform.field(modes), field, atol=1e-14)  # round-off
        slope = -3 * k * torch.sin(3 * k * x0) * torch.sin(4 * k * x1)
        assert torch.allclose(transform.field(1j * transform.waves[0] * modes)[0, 0], slope, atol=1e-13)
        assert torch.allclose(transform.field(transform.laplacian * modes), -25 * k**2 * field, atol=1e-12)


def test_products_have_no_aliases(comm):
    domain = decompose(Grid((12, 12), 2 * math.pi), comm)
    x, y = domain.centres()
    highest = torch.cos(3 * x) * torch.cos(3 * y)
    modes = Dealiased(domain).modes((highest**2)[None, None])
    # cos² has the mean 1/2 and a wave of twice the number, 6, which is cut off and does not come back as another.
    assert abs(modes[0, 0, 0, 0] / 144 - 0.25) < 1e-15 and modes[0, 0].abs().sum() / 144 < 0.25 + 1e-13


def test_a_grid_too_short_is_named(comm):
    with pytest.raises(ShapeError, match=r"\(3, 8\)"):
        Dealiased(decompose(Grid((3, 8)), comm))
