"""Differences are exact for the polynomials that their order promises."""

import pytest
import torch

from hpcml.equations import AdvectionDiffusion
from hpcml.equations.padded import Padded
from hpcml.fields import Grid, decompose
from hpcml.mpi.reductions import all_max
from hpcml.solvers import SSP_RK3, RungeKutta


def polynomial(domain, power):
    x, y = domain.centres()
    return (x**power * torch.ones_like(y))[None, None]


def inside(field, domain):
    """Cells whose stencils do not reach across the edge of the grid, on any rank."""
    x, _ = domain.block
    n = domain.global_shape[0]
    return field[..., max(2 - x.start, 0) : min(n - 2, x.stop) - x.start, :]


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("power", range(6))
def test_orders(comm, power):
    with decompose(Grid((18, 9), (1.8, 0.9)), comm) as domain:
        padded = Padded.of(polynomial(domain, power), domain, 2)
        first = power * polynomial(domain, max(power - 1, 0))
        second = power * (power - 1) * polynomial(domain, max(power - 2, 0))
        exact = {
            "laplacian": (padded.laplacian(), second, 3),
            "laplacian_4": (padded.laplacian_4(), second, 5),
            "down": (padded.advection(0, -2.0), -2 * first, 3),
            "up": (padded.advection(0, 2.0), 2 * first, 3),
        }
        for actual, expected, highest in exact.values():
            error = inside(actual - expected, domain).abs().max() if inside(actual, domain).numel() else torch.zeros(())
            if power <= highest:
                assert error < 1e-10  # round-off of values up to 20 over dx² = 0.01
            elif power == highest + 1:
                assert inside(actual, domain).numel() == 0 or error > 1e-6  # and it is not better than it says


@pytest.mark.parallel([1, 2, 4])
def test_lines_hold_the_ghosts_of_one_dim(comm):
    with decompose(Grid((8, 6)), comm) as domain:
        whole = torch.arange(48.0).view(1, 1, 8, 6)
        padded = Padded.of(whole[domain.index], domain, 2)
        rows, columns = domain.block
        wide = torch.cat([whole[..., -2:], whole, whole[..., :2]], -1)
        assert torch.equal(padded.line(1), wide[..., rows.start : rows.stop, columns.start : columns.stop + 4])


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(9, 8), (5, 6, 37), (160, 160)], ids=str)
def test_without_a_gradient_a_kernel_gives_the_same_bits_on_any_number_of_ranks(comm, rng, shape, dtype):
    """Also where one rank's block is large and that of four is small: no choice by local cells shows in a number."""
    whole = torch.from_numpy(rng.standard_normal((2, 3, *shape))).to(dtype)
    with decompose(Grid(shape), comm) as domain:
        plain = Padded.of(whole[domain.index], domain, 1).laplacian(0.3)
        with torch.no_grad():
            fused = Padded.of(whole[domain.index], domain, 1).laplacian(0.3)
            serial = Padded.of(whole, domain.serial(), 1).laplacian(0.3)
    assert torch.equal(fused, plain) and torch.equal(fused, serial[domain.index])


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("velocity", [1.5, -0.5])
def test_weno_is_of_fifth_order_and_the_same_by_kernel(comm, velocity):
    errors = []
    for n in (20, 40):
        with decompose(Grid((3, n)), comm) as domain:
            x = 2 * torch.pi * domain.centres()[1].expand(domain.local_shape)[None, None]
            # Cells hold means: that of the sine over a cell is the sine at its centre times sin(h) / h.
            mean = torch.sin(torch.tensor(torch.pi / n, dtype=torch.float64)) / (torch.pi / n)
            padded = Padded.of(mean * torch.sin(x), domain, 3)
            rate = padded.advection_weno(1, velocity)
            errors.append(float(all_max((rate - velocity * mean * 2 * torch.pi * torch.cos(x)).abs().mean(), comm)))
            with torch.no_grad():
                assert torch.equal(padded.advection_weno(1, velocity), rate)
    # Next to crests, where slopes vanish, the weights are not yet the optimal ones on such grids.
    assert torch.log2(torch.tensor(errors[0] / errors[1])) > 4.5, errors


@pytest.mark.parallel([1, 2])
def test_weno_makes_no_new_extrema_at_a_jump(comm):
    equation = AdvectionDiffusion((1.0,), scheme="weno")
    with decompose(Grid((48,)), comm) as domain:
        start = (domain.centres()[0] < 0.5).double()[None, None]
        end = RungeKutta(equation, domain, 0.4 / 48, SSP_RK3).rollout(start, 60, 60)[:, -1]
        # WENO bounds new extrema by the order of the scheme, not to zero; upwind reaches 0.06 here.
        assert all_max(torch.stack([end.max() - 1, -end.min()]), comm).max() < 2e-3
