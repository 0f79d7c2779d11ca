"""Differences of distributed fields: equal to those of the whole field, of the order they claim, exact on polynomials, differentiable."""

import math

import pytest
import torch

from hpcml.core.errors import ConfigError, ShapeError
from hpcml.fields import Grid, decompose
from hpcml.fields.difference import derivative, divergence, gradient, laplacian

SHAPES = [(13,), (9, 7), (6, 7, 5)]


def serial_gradient(u, spacing, order):
    """With rolls of the whole periodic field."""
    weights = {2: {1: 1 / 2}, 4: {1: 2 / 3, 2: -1 / 12}}[order]
    num_dims = len(spacing)
    return [sum(w * (u.roll(-j, d - num_dims) - u.roll(j, d - num_dims)) for j, w in weights.items()) / dx for d, dx in enumerate(spacing)]


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_ranks_do_not_matter(comm, shape, order):
    grid = Grid(shape, extent=tuple(1.0 + d for d in range(len(shape))))
    torch.manual_seed(0)
    whole = torch.randn(2, len(shape), *shape, dtype=torch.float64)
    with decompose(grid, comm) as domain:
        block = whole[domain.index]
        expected = serial_gradient(whole, grid.spacing, order)
        for d, (ours, serial) in enumerate(zip(gradient(block, domain, order), expected, strict=True)):
            torch.testing.assert_close(ours, serial[domain.index], rtol=1e-12, atol=1e-12)  # the same sums in another order
            torch.testing.assert_close(derivative(block, domain, d, order), ours, rtol=0, atol=0)
        total = sum(expected[d][:, d : d + 1] for d in range(len(shape)))
        torch.testing.assert_close(divergence(block, domain, order), total[domain.index], rtol=1e-12, atol=1e-12)


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("order", [2, 4])
def test_order_of_convergence(comm, order):
    """Halving the spacing divides the error by 2^order."""

    def errors(n):
        with decompose(Grid((n, n), extent=2 * math.pi), comm) as domain:
            x, y = domain.centres()
            u = (x.sin() * (2 * y).cos()).expand(1, 1, *domain.local_shape)
            slope = derivative(u, domain, 1, order) + 2 * x.sin() * (2 * y).sin()
            curvature = laplacian(u, domain, order) + 5 * u
            return [comm.allreduce(float((e**2).sum())) ** 0.5 / n for e in (slope, curvature)]

    for coarse, fine in zip(errors(24), errors(48), strict=True):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.1)  # the next term of the error is below 5 % of the first here


@pytest.mark.parallel([1, 2, 3])
def test_exact_on_polynomials_inside(comm):
    """Stencils of order p differentiate polynomials of degree p without error, away from the ends of a grid that is not periodic."""
    grid = Grid((12, 11), extent=(3.0, 2.0), periodic=False)
    with decompose(grid, comm) as domain:
        x, y = domain.centres()
        u = (x**4 - 2 * x * y**3).expand(1, 1, *domain.local_shape)
        inside = torch.ones(1, 1, 12, 11, dtype=torch.bool)
        inside[..., 2:-2, 2:-2] = False
        error = laplacian(u, domain, 4) - (12 * x**2 - 12 * x * y)
        error[inside[domain.index]] = 0
        assert float(error.abs().max()) < 1e-10  # round-off of values of size 100 over dx^2 of 0.03


@pytest.mark.parallel([1, 2, 3])
def test_laplacian_is_its_own_adjoint_and_the_gradients_adjoint_is_minus_the_divergence(comm):
    torch.manual_seed(comm.rank)
    with decompose(Grid((8, 9), periodic=(True, False)), comm) as domain:
        u, w = (torch.randn(1, 1, *domain.local_shape, dtype=torch.float64, requires_grad=True) for _ in range(2))
        v = torch.randn(1, 2, *domain.local_shape, dtype=torch.float64)

        def total(*values):
            return comm.allreduce(sum(float(value.detach().sum()) for value in values))

        torch.testing.assert_close(total(laplacian(u, domain) * w), total(laplacian(w, domain) * u), rtol=1e-12, atol=1e-10)
        slope = gradient(u, domain)
        inner = total(slope[0] * v[:, :1], slope[1] * v[:, 1:])
        assert inner == pytest.approx(-total(u * divergence(v, domain)), rel=1e-11)  # round-off of sums that cancel
        (adjoint,) = torch.autograd.grad((laplacian(u, domain) * w.detach()).sum(), u)
        torch.testing.assert_close(adjoint, laplacian(w, domain).detach(), rtol=1e-12, atol=1e-10)


@pytest.mark.parallel([1, 2])
def test_other_boundaries_and_mistakes(comm):
    with decompose(Grid((8,)), comm) as domain:
        flat = torch.ones(1, 1, *domain.local_shape, dtype=torch.float64)
        assert float(derivative(flat, domain, 0, boundary=("replicate",)).abs().max()) == 0
        at_the_ends = derivative(flat, domain, 0, boundary=("zero",)).abs()
        assert comm.allreduce(float(at_the_ends.sum())) == 8.0  # 1 / (2 dx) at either end
        with pytest.raises(ConfigError, match="order 2 or 4, got 3"):
            laplacian(flat, domain, 3)
        with pytest.raises(ConfigError, match="count from 0"):
            derivative(flat, domain, 1)
        with pytest.raises(ShapeError, match="as many components"):
            divergence(torch.ones(1, 2, *domain.local_shape), domain)
