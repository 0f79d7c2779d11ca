"""Collectives and replicated values: the right sums, adjoint to each other, twice differentiable."""

import pytest
import torch

from hpcml.parallel import adjoint_error, all_gather, all_reduce, broadcast, global_sum, replicated, sum_reduce

ROUND_OFF = 1e-12  # the bar of every dot-product test


def per_rank(comm, *shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(comm.rank))


def same_on_all(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(99))


@pytest.mark.parallel([1, 2, 3])
def test_values(comm):
    total = torch.stack([torch.full((2,), 1.0 + r) for r in range(comm.size)])
    x = total[comm.rank]
    assert torch.equal(all_reduce(comm, x), total.sum(0))
    assert torch.equal(all_gather(comm, x), total)
    assert torch.equal(global_sum(comm, x)[0], total.sum(0))
    assert torch.equal(replicated(comm, x)[0], x)
    root = comm.size - 1
    assert torch.equal(broadcast(comm, x, root), total[root])
    assert torch.equal(sum_reduce(comm, x, root), total.sum(0) if comm.rank == root else torch.zeros(2))


@pytest.mark.parallel([1, 2, 3])
def test_adjoints(comm):
    x, y = per_rank(comm, 3, 4), per_rank(comm, 3, 4).cos()
    assert adjoint_error(lambda a: [all_reduce(comm, a)], lambda b: [all_reduce(comm, b)], [x], [y], comm) < ROUND_OFF
    for root in range(comm.size):
        down, up = (lambda a, r=root: [broadcast(comm, a, r)]), (lambda b, r=root: [sum_reduce(comm, b, r)])
        on_root = x if comm.rank == root else torch.zeros_like(x)
        assert adjoint_error(down, up, [on_root], [y], comm) < ROUND_OFF
    leaf, stacked = x.clone().requires_grad_(), per_rank(comm, comm.size, 3, 4)
    (scattered,) = torch.autograd.grad(all_gather(comm, leaf), leaf, stacked)
    assert adjoint_error(lambda a: [all_gather(comm, a)], lambda _: [scattered], [x], [stacked], comm) < ROUND_OFF


@pytest.mark.parallel([1, 2, 3])
def test_replicated_and_global_sum_are_each_others_adjoint(comm):
    w, x = same_on_all(5), per_rank(comm, 5)
    assert adjoint_error(lambda a: replicated(comm, a), lambda b: global_sum(comm, b), [w], [x], comm, (True, False)) < ROUND_OFF
    assert adjoint_error(lambda a: global_sum(comm, a), lambda b: replicated(comm, b), [x], [w], comm, (False, True)) < ROUND_OFF


@pytest.mark.parallel([1, 2, 3])
def test_gradient_and_its_gradient_are_the_serial_ones(comm):
    """L(w) = (sum_r sum (w a_r)^2)^2: parameters replicated, loss a global sum, differentiated twice."""
    parts = [torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(r)) for r in range(comm.size)]
    w = same_on_all(4).requires_grad_()

    def serial(w):
        return sum(((w * a) ** 2).sum() for a in parts) ** 2

    def ours(w):
        (used,) = replicated(comm, w)
        return global_sum(comm, ((used * parts[comm.rank]) ** 2).sum())[0] ** 2

    def derivatives(loss):
        (first,) = torch.autograd.grad(loss(w), w, create_graph=True)
        (second,) = torch.autograd.grad((first**2).sum(), w)
        return first.detach(), second

    for a, b in zip(derivatives(ours), derivatives(serial), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)  # the same float64 sums in another order


@pytest.mark.parallel([2, 3])
def test_several_values_of_several_dtypes_travel_together(comm):
    x = (torch.ones(2), torch.full((3, 1), 2.0, dtype=torch.float64), torch.ones((), dtype=torch.complex64) * 1j)
    for total, part in zip(global_sum(comm, *x), x, strict=True):
        assert torch.equal(total, part * comm.size) and total.dtype == part.dtype


@pytest.mark.parallel([1, 2, 3])
def test_real_and_complex_values_of_one_precision_share_one_message(comm):
    real, pairs = same_on_all(3).requires_grad_(), torch.complex(same_on_all(2), same_on_all(2)).requires_grad_()
    a, b = replicated(comm, real, pairs)
    (a.sum() * (comm.rank + 1) + (b * (comm.rank + 1)).imag.sum()).backward()
    total = sum(range(1, comm.size + 1))
    assert torch.equal(real.grad, torch.full((3,), float(total), dtype=torch.float64))
    assert torch.equal(pairs.grad, torch.full((2,), total * 1j, dtype=torch.complex128))


@pytest.mark.parallel([1, 2, 3])
def test_what_is_replicated_already_is_summed_once(comm):
    w = same_on_all(3).requires_grad_()
    (once,) = replicated(comm, w)
    (twice,) = replicated(comm, once)
    twice.sum().backward()
    assert torch.equal(w.grad, torch.full((3,), float(comm.size), dtype=torch.float64))
