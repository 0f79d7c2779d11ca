"""Tiles of a space: values spread over them, and sums over them."""

from typing import ClassVar

import pytest
import torch

from hpcml.core.errors import ConfigError
from hpcml.mpi.reductions import all_sum
from hpcml.parallel import all_reduce, global_sum, replicated
from hpcml.parallel.settled import LINE
from hpcml.parallel.tiles import Tiles, by_tile, joined


@pytest.fixture
def tiles(comm):
    own = comm.Dup()
    yield Tiles(own, 6)
    own.Free()


def numbers(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parallel([1, 2, 3, 4])
def test_spreading_and_summing_are_each_others_adjoint(comm, tiles):
    w, y = numbers(3, 2).requires_grad_(), numbers(6, 3, 2)[tiles.own.start : tiles.own.stop].requires_grad_()
    spread, total = tiles.spread(w)[0], tiles.total_of(y.unbind())[0]
    assert all_sum(len(spread), comm) == 6
    mine = sum(((s * t).sum() for s, t in zip(spread, y, strict=True)), start=w.new_zeros(()))
    torch.testing.assert_close(all_sum(mine, comm), (w * total).sum().detach(), rtol=1e-14, atol=0)  # the order of a sum of 36
    mine.backward()
    assert torch.equal(w.grad, total.detach())
    slope = torch.autograd.grad((w.detach() * total.square()).sum(), y)[0]
    assert torch.equal(slope, (2 * w * total).detach().expand_as(slope))


@pytest.mark.parallel([1, 2, 3])
def test_second_derivatives_are_those_of_one_sum(comm, tiles):
    w, x = numbers(2).requires_grad_(), numbers(6, 2)[tiles.own.start : tiles.own.stop]

    def loss():
        parts = [(each * row).sum().sin() for each, row in zip(tiles.spread(w)[0], x, strict=True)]
        return tiles.total_of(parts)[0]

    (slope,) = torch.autograd.grad(loss(), w, create_graph=True)
    (second,) = torch.autograd.grad(slope.square().sum(), w)
    v, every = w.detach().clone().requires_grad_(), numbers(6, 2)
    (expected,) = torch.autograd.grad((every @ v).sin().sum(), v, create_graph=True)
    torch.testing.assert_close(slope, expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(second, torch.autograd.grad(expected.square().sum(), v)[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("channels", "dim"), [(3, 1), (16, 1), (3, 0)])
def test_rows_of_a_tile_lie_in_memory_as_if_they_were_alone(channels, dim):
    field = numbers(2, 9, channels).movedim(1, dim)
    seen = by_tile(lambda k, rows: (k, rows), [4, 0, 5], dim, field)
    assert [k for k, _ in seen] == [0, 1, 2] and torch.equal(torch.cat([rows for _, rows in seen], dim), field)
    assert all(rows.is_contiguous() and rows.data_ptr() % LINE == 0 for _, rows in seen)


class Watched(torch.autograd.Function):
    """A product with 2 that notes whether what it is given, and what it is given in derivatives, lies as a tile of its own does."""

    lie: ClassVar[list[bool]] = []

    @staticmethod
    def forward(ctx, x):
        Watched.lie.append(x.is_contiguous() and x.data_ptr() % LINE == 0)
        return 2 * x

    @staticmethod
    def backward(ctx, y):
        return Watched.apply(y)


def test_so_do_gradients_that_enter_a_tile_of_every_order():
    x, c, sizes = numbers(9, 3).requires_grad_(), numbers(9, 3).requires_grad_(), [4, 5]
    y = joined(by_tile(lambda _, rows: Watched.apply(rows), sizes, 0, x), 0)
    (slope,) = torch.autograd.grad((y * c).sum(), x, create_graph=True)
    (slope * x).sum().backward()
    assert len(Watched.lie) == 6 and all(Watched.lie)  # of two tiles: forward, backward, and backward of that
    assert torch.equal(c.grad, 2 * x)


@pytest.mark.parallel([1, 2])
def test_what_goes_in_the_order_of_ranks_is_refused(comm, tiles):
    for call in (global_sum, replicated, all_reduce):
        with pytest.raises(ConfigError, match="order of ranks"):
            call(tiles.comm, torch.ones(2))
        call(comm, torch.ones(2))  # the caller's own communicator is no other than before


@pytest.mark.parallel([2, 3])
def test_fewer_tiles_than_ranks_are_refused(comm):
    with pytest.raises(ConfigError, match="cannot be dealt"):
        Tiles(comm.Dup(), comm.size - 1)


def test_what_goes_from_tiles_to_tiles_is_not_cut_anew_unless_it_changed():
    parts = [numbers(2, rows, 3).requires_grad_() for rows in (4, 0, 5)]
    whole = joined(parts, -2, keep=True)
    taken = by_tile(lambda _, rows: rows, [4, 0, 5], 1, whole)
    assert all(rows is part for rows, part in zip(taken, parts, strict=True))
    (whole * 2 + torch.cat(by_tile(lambda _, rows: rows.sin(), [4, 0, 5], -2, whole), 1)).sum().backward()
    for part in parts:
        assert torch.equal(part.grad, 2 + part.detach().cos())
    whole = joined([part.detach() for part in parts], -2, keep=True)
    whole += 1
    assert torch.equal(torch.cat(by_tile(lambda _, rows: rows, [4, 0, 5], -2, whole), 1), whole)


def test_without_gradients_and_counts_of_changes_tiles_are_cut_as_well():
    with torch.inference_mode():
        whole = joined([numbers(2, rows, 3) for rows in (4, 5)], -2, keep=True)
        assert torch.equal(joined(by_tile(lambda _, rows: rows, [4, 5], -2, whole), -2), whole)
