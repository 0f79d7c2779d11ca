"""Sums over ranks in an order that does not depend on them."""

import pytest
import torch
from mpi4py import MPI

from hpcml.parallel.tree_sum import tree_sum
from hpcml.topology.block import block_range


def by_hand(terms):
    """Two by two, and the sums again; what has no partner moves up."""
    terms = list(terms)
    while len(terms) > 1:
        terms = [terms[k] + terms[k + 1] if k + 1 < len(terms) else terms[k] for k in range(0, len(terms), 2)]
    return terms[0]


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize("total", [4, 5, 7, 8, 13, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
def test_the_order_is_that_of_the_tree_on_any_number_of_ranks(comm, total, dtype):
    generator = torch.Generator().manual_seed(total)
    scale = 10.0 ** torch.randint(-6, 7, (total, 1), generator=generator)  # whose sums round otherwise in any other order
    values = [(torch.randn(total, n, generator=generator, dtype=torch.float64) * scale).to(dtype) for n in (1, 6, 11)]
    values.append(torch.randn(total, 2, 3, generator=generator, dtype=torch.float64))
    mine = block_range(total, comm.size, comm.rank)
    found = tree_sum(list(zip(*(value[mine.start : mine.stop] for value in values), strict=True)), total, comm)
    for own, value in zip(found, values, strict=True):
        assert own.dtype == value.dtype and torch.equal(own, by_hand(value))


@pytest.mark.parallel([1, 2, 3])
def test_nothing_is_hidden_and_nothing_is_summed_to_nothing(comm):
    values = torch.zeros(8, 3, dtype=torch.float64)
    values[5, 0], values[6, 1] = torch.nan, torch.inf
    mine = block_range(8, comm.size, comm.rank)
    found, empty = tree_sum([[row, row[:0]] for row in values[mine.start : mine.stop]], 8, comm)
    assert found[0].isnan() and found[1] == torch.inf and found[2] == 0 and empty.shape == (0,)


def test_terms_that_cancel_do_so_in_the_order_of_the_tree():
    terms = torch.tensor([[1e16], [1.0], [-1e16], [1.0]], dtype=torch.float64)
    assert tree_sum([[term] for term in terms], 4, MPI.COMM_SELF)[0] == 0.0  # one by one it is 1
