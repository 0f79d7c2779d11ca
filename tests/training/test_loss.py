"""Losses are those of the whole field and the whole batch, on any number of ranks and data groups: value, gradient and its gradient."""

import pytest
import torch
from torch.nn import functional as F

from hpcml.core.errors import CommunicationError, ShapeError
from hpcml.fields import Grid, decompose
from hpcml.models.layers import BatchNorm2d
from hpcml.training.loss import h1, mse, relative_l2

RANKS = pytest.mark.parallel([1, 2, 3, 4])
TIGHT = {"rtol": 1e-12, "atol": 1e-15}  # float64 sums in another order


def serial_mse(grid, p, t):
    return F.mse_loss(p, t)


def serial_l2(grid, p, t):
    return ((p - t).flatten(1).norm(dim=1) / t.flatten(1).norm(dim=1)).mean()


def serial_h1(grid, p, t):
    """With torch's own gradient, which is one-sided at the ends; periodic dims are wrapped by hand."""

    def square(u):
        total = u.flatten(1).square().sum(1)
        for d, (dx, periodic) in enumerate(zip(grid.spacing, grid.periodic, strict=True)):
            wide = torch.cat([u.narrow(d + 2, u.shape[d + 2] - 1, 1), u, u.narrow(d + 2, 0, 1)], d + 2) if periodic else u
            (slope,) = torch.gradient(wide, spacing=dx, dim=d + 2)
            slope = slope.narrow(d + 2, 1, u.shape[d + 2]) if periodic else slope
            total = total + slope.flatten(1).square().sum(1)
        return total

    return (square(p - t) / square(t)).sqrt().mean()


CASES = [(mse, serial_mse), (relative_l2, serial_l2), (h1, serial_h1)]


def fields(rng, batch, shape):
    p, t = (torch.from_numpy(rng.standard_normal((batch, 2, *shape))) for _ in range(2))
    return p.requires_grad_(), t


@RANKS
@pytest.mark.parametrize(("ours", "serial"), CASES, ids=["mse", "relative_l2", "h1"])
@pytest.mark.parametrize(
    "grid",
    [Grid((13,), extent=2.0), Grid((7, 8), extent=(1.0, 3.0), periodic=(True, False)), Grid((6, 3, 5), periodic=False)],
    ids=["1d", "2d", "3d"],
)
def test_value_and_gradient_are_the_serial_ones(comm, rng, ours, serial, grid):
    with decompose(grid, comm) as domain:
        p, t = fields(rng, 3, grid.shape)
        block = p.detach()[domain.index].clone().requires_grad_()
        value, expected = ours(domain, block, t[domain.index]), serial(grid, p, t)
        torch.testing.assert_close(value, expected, **TIGHT)
        value.backward()
        expected.backward()
        torch.testing.assert_close(block.grad, p.grad[domain.index], **TIGHT)


@pytest.mark.parallel([2, 4, 6])
@pytest.mark.parametrize(("ours", "serial"), CASES, ids=["mse", "relative_l2", "h1"])
def test_data_groups_may_hold_different_numbers_of_samples(comm, rng, ours, serial):
    grid = Grid((8, 6))
    with decompose(grid, comm, data=2) as domain:
        p, t = fields(rng, 5, grid.shape)
        mine = slice(0, 3) if domain.data_index == 0 else slice(3, 5)
        block = p.detach()[mine][domain.index].clone().requires_grad_()
        value, expected = ours(domain, block, t[mine][domain.index]), serial(grid, p, t)
        torch.testing.assert_close(value, expected, **TIGHT)
        value.backward()
        expected.backward()
        torch.testing.assert_close(block.grad, p.grad[mine][domain.index], **TIGHT)


@RANKS
@pytest.mark.parametrize(("ours", "serial"), CASES, ids=["mse", "relative_l2", "h1"])
def test_second_derivatives_are_the_serial_ones(comm, rng, ours, serial):
    """Gradient of the squared loss along its own gradient."""
    grid = Grid((7, 6))
    with decompose(grid, comm) as domain:
        p, t = fields(rng, 2, grid.shape)
        v = torch.from_numpy(rng.standard_normal(p.shape))
        block = p.detach()[domain.index].clone().requires_grad_()

        def second(loss, where, x, y, direction):
            (g,) = torch.autograd.grad(loss(where, x, y) ** 2, x, create_graph=True)
            return torch.autograd.grad((g * direction).sum(), x)[0]

        # The direction's inner product is summed over ranks by the loss's own graph: each rank differentiates its share.
        expected = second(serial, grid, p, t, v)[domain.index]
        torch.testing.assert_close(second(ours, domain, block, t[domain.index], v[domain.index]), expected, rtol=1e-11, atol=1e-14)


@RANKS
def test_an_exact_prediction_has_no_gradient_and_no_nan(comm, rng):
    with decompose(Grid((7, 6)), comm) as domain:
        t = fields(rng, 2, (7, 6))[1][domain.index]
        for loss in (mse, relative_l2, h1):
            p = t.clone().requires_grad_()
            value = loss(domain, p, t)
            value.backward()
            assert value.item() < 1e-150 and torch.equal(p.grad, torch.zeros_like(p))


@pytest.mark.parallel([1, 2])
def test_mistakes_are_named(comm):
    with decompose(Grid((8, 6)), comm) as domain:
        with pytest.raises(ShapeError, match="two blocks"):
            mse(domain, torch.zeros(1, 1, *domain.local_shape), torch.zeros(2, 1, *domain.local_shape))
        with pytest.raises(ShapeError, match="two blocks"):
            relative_l2(domain, torch.zeros(1, 1, 9, 9), torch.zeros(1, 1, 9, 9))


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize(("ours", "serial"), CASES, ids=["mse", "relative_l2", "h1"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_a_loss_is_float64_whatever_the_fields_are(comm, rng, ours, serial, dtype):
    """More cells than float16 can count, and differences of 0.01, whose square it rounds to nothing when divided by them."""
    grid = Grid((263, 251))
    with decompose(grid, comm) as domain:
        t = torch.from_numpy(rng.standard_normal((1, 1, *grid.shape))).to(dtype)
        p = (t.double() + 0.01).to(dtype)
        value, expected = ours(domain, p[domain.index], t[domain.index]), serial(grid, p.double(), t.double())
        assert value.dtype == torch.float64
        torch.testing.assert_close(value, expected, **TIGHT)


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize(("ours", "serial"), CASES, ids=["mse", "relative_l2", "h1"])
@pytest.mark.parametrize("unit", [1e-30, 1e30])
def test_units_whose_squares_leave_float32(comm, rng, ours, serial, unit):
    grid = Grid((12, 9))
    with decompose(grid, comm) as domain:
        p, t = (unit * f.detach() for f in fields(rng, 2, grid.shape))
        p, t = p.float().double().requires_grad_(), t.float().double()
        block = p.detach()[domain.index].float().requires_grad_()
        value, expected = ours(domain, block, t[domain.index].float()), serial(grid, p, t)
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=0.0)
        value.backward()
        expected.backward()
        scale = float(p.grad.abs().max())  # the gradient is rounded to float32 once
        assert float((block.grad.double() - p.grad[domain.index]).abs().max()) <= 1e-7 * scale


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize("loss", [relative_l2, h1])
def test_the_error_of_a_zero_target_is_absolute(comm, rng, loss):
    """One of two samples has a zero target: its norm counts as that of ones."""
    grid = Grid((7, 6))
    with decompose(grid, comm) as domain:
        t = fields(rng, 2, grid.shape)[1]
        t[0] = 0
        for p, expected in ((t, 0.0), (t + torch.tensor([3.0, 0.0], dtype=torch.float64).view(2, 1, 1, 1), 1.5)):
            block = p[domain.index].clone().requires_grad_()
            value = loss(domain, block, t[domain.index])
            value.backward()
            assert value.item() == pytest.approx(expected, abs=1e-150, rel=1e-14) and torch.isfinite(block.grad).all()


@pytest.mark.parallel([2, 3])
@pytest.mark.parametrize("loss", [mse, relative_l2])
@pytest.mark.parametrize("unlike", ["samples", "channels", "dtype"])
def test_ranks_that_share_fields_have_the_same_ones(comm, loss, unlike):
    """On three ranks two, one and three samples, whose mean is that of the first."""
    samples = (2, 1, 3)[comm.rank] if unlike == "samples" else 2
    channels = (2, 1, 3)[comm.rank] if unlike == "channels" else 1
    with decompose(Grid((6, 4)), comm.Dup()) as domain:
        block = torch.ones(samples, channels, *domain.local_shape, dtype=torch.float64 if unlike == "dtype" and comm.rank else None)
        with pytest.raises((ShapeError, CommunicationError), match="unlike ones, here|rank"):
            loss(domain, block, 0 * block)


@pytest.mark.parallel([2, 3])
def test_a_batch_norm_wants_as_many_samples_from_ranks_that_share_fields(comm):
    with decompose(Grid((6, 4)), comm) as domain, pytest.raises(ShapeError, match="ranks that share fields have batches of unlike size"):
        BatchNorm2d(domain, 1)(torch.ones((2, 1, 3)[comm.rank], 1, *domain.local_shape))
