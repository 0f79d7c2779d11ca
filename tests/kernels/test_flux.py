"""WENO5 fluxes against their twin, along every dim, and at their order."""

import math

import pytest
import torch

from hpcml.core.errors import ShapeError
from hpcml.kernels.flux import weno5_flux
from hpcml.kernels.flux_twin import weno5, weno5_flux_twin


def arrays(dim, dtype, device):
    generator = torch.Generator().manual_seed(0)
    shape = [3, 8, 21]
    shape[dim] += 6
    u = torch.randn(shape, dtype=dtype, generator=generator)
    shape[dim] -= 5
    return u.to(device), torch.randn(shape, dtype=dtype, generator=generator).to(device)


def states(u):
    """State on the left and on the right of every face: what a wind of one in either direction carries through it."""
    flux, wind = (torch.empty(len(u) - 5, dtype=u.dtype, device=u.device) for _ in range(2))
    for speed in (1.0, -1.0):
        weno5_flux(flux, u, wind.fill_(speed), 0)
        yield speed * flux.clone()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_fluxes_are_bit_equal_to_their_twin_along_every_dim(backend, device, dim, dtype):
    u, speed = arrays(dim, dtype, device)
    flux, expected = torch.empty_like(speed), torch.empty_like(speed)
    weno5_flux(flux, u, speed, dim)
    inner = math.prod(speed.shape[dim % 3 + 1 :])
    outer = math.prod(speed.shape[: dim % 3])
    weno5_flux_twin(expected, u, speed, outer, speed.numel() // outer, inner)
    assert torch.equal(flux, expected)


def test_the_flux_is_of_the_side_that_the_wind_comes_from(backend, device):
    u, speed = arrays(1, torch.float64, device)
    flux = torch.empty_like(speed)
    weno5_flux(flux, u, speed, 1)
    cells = [u[:, k : k + speed.shape[1]] for k in range(6)]
    assert torch.equal(flux, speed * torch.where(speed > 0, weno5(*cells[:5]), weno5(*cells[:0:-1])))


def test_weno5_is_of_fifth_order_where_u_is_smooth(backend, device):
    errors = []
    for n in (40, 80):
        dx = 2 * math.pi / n
        edges = torch.arange(-3, n + 4, dtype=torch.float64, device=device) * dx
        averages = (edges.cos()[:-1] - edges.cos()[1:]) / dx  # of the sine over each cell
        errors.append(max((state - edges[3:-3].sin()).abs().max().item() for state in states(averages)))
    # At critical points the weights lose an order until tiny (1e-6) outweighs the smoothness: 4.5 separates fifth order from fourth.
    assert math.log2(errors[0] / errors[1]) > 4.5


def test_weno5_does_not_overshoot_a_jump(backend, device):
    left, right = states((torch.arange(26, device=device) > 12).double())
    # The weight of a stencil across the jump is about (1e-6)^2 of that of a smooth one.
    assert min(left.min(), right.min()) > -1e-10 and max(left.max(), right.max()) < 1 + 1e-10


def test_what_does_not_fit_is_named():
    with pytest.raises(ShapeError, match=r"3 ghost cells a side: expected \[9\], got \[8\]"):
        weno5_flux(torch.empty(4), torch.zeros(8), torch.zeros(4), 0)
    with pytest.raises(ShapeError, match="one value per face"):
        weno5_flux(torch.empty(4), torch.zeros(9), torch.zeros(3), 0)
    with pytest.raises(ShapeError, match="u must be contiguous"):
        weno5_flux(torch.empty(4), torch.zeros(18)[::2], torch.zeros(4), 0)
