"""Upwind and WENO5 fluxes against their twins, along every dim, and at their orders."""

import math

import pytest
import torch

from hpcml.core.errors import ShapeError
from hpcml.kernels import flux_twin
from hpcml.kernels.flux import upwind_flux, weno5_faces, weno5_flux


def arrays(dim, ghosts, dtype, device):
    generator = torch.Generator().manual_seed(0)
    shape = [3, 8, 21]
    shape[dim] += 2 * ghosts
    u = torch.randn(shape, dtype=dtype, generator=generator)
    shape[dim] -= 2 * ghosts - 1
    return u.to(device), torch.randn(shape, dtype=dtype, generator=generator).to(device)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("dim", [0, 1, 2, -1])
@pytest.mark.parametrize(("flux_of", "ghosts"), [(upwind_flux, 1), (weno5_flux, 3)], ids=["upwind", "weno5"])
def test_fluxes_are_bit_equal_to_their_twins_along_every_dim(backend, device, flux_of, ghosts, dim, dtype):
    u, speed = arrays(dim, ghosts, dtype, device)
    flux, expected = torch.empty_like(speed), torch.empty_like(speed)
    flux_of(flux, u, speed, dim)
    inner = math.prod(speed.shape[dim % 3 + 1 :])
    outer = math.prod(speed.shape[: dim % 3])
    getattr(flux_twin, f"{flux_of.__name__}_twin")(expected, u, speed, outer, speed.numel() // outer, inner)
    assert torch.equal(flux, expected)


def test_upwind_takes_the_cell_that_the_wind_comes_from(backend, device):
    u = torch.tensor([1.0, 2.0, 3.0, 4.0], device=device)
    flux = torch.empty(3, device=device)
    upwind_flux(flux, u, torch.tensor([1.0, -1.0, 0.5], device=device), 0)
    assert flux.tolist() == [1.0, -3.0, 1.5]


def test_faces_are_the_states_of_the_flux(backend, device):
    u, speed = arrays(1, 3, torch.float64, device)
    left, right, flux = (torch.empty_like(speed) for _ in range(3))
    weno5_faces(left, right, u, 1)
    weno5_flux(flux, u, speed, 1)
    assert torch.equal(flux, speed * torch.where(speed > 0, left, right))


def test_weno5_is_of_fifth_order_where_u_is_smooth(backend, device):
    errors = []
    for n in (40, 80):
        dx = 2 * math.pi / n
        edges = torch.arange(-3, n + 4, dtype=torch.float64, device=device) * dx
        averages = (edges.cos()[:-1] - edges.cos()[1:]) / dx  # of the sine over each cell
        left, right = (torch.empty(n + 1, dtype=torch.float64, device=device) for _ in range(2))
        weno5_faces(left, right, averages, 0)
        errors.append(max((state - edges[3:-3].sin()).abs().max().item() for state in (left, right)))
    # At critical points the weights lose an order until tiny (1e-6) outweighs the smoothness: 4.5 separates fifth order from fourth.
    assert math.log2(errors[0] / errors[1]) > 4.5


def test_weno5_does_not_overshoot_a_jump(backend, device):
    u = (torch.arange(26, device=device) > 12).double()
    left, right = (torch.empty(21, dtype=torch.float64, device=device) for _ in range(2))
    weno5_faces(left, right, u, 0)
    # The weight of a stencil across the jump is about (1e-6)^2 of that of a smooth one.
    assert min(left.min(), right.min()) > -1e-10 and max(left.max(), right.max()) < 1 + 1e-10


def test_what_does_not_fit_is_named():
    with pytest.raises(ShapeError, match=r"3 ghost cells a side: expected \[9\], got \[8\]"):
        weno5_flux(torch.empty(4), torch.zeros(8), torch.zeros(4), 0)
    with pytest.raises(ShapeError, match="one value per face"):
        upwind_flux(torch.empty(4), torch.zeros(5), torch.zeros(3), 0)
    with pytest.raises(ShapeError, match="u must be contiguous"):
        upwind_flux(torch.empty(4), torch.zeros(10)[::2], torch.zeros(4), 0)
