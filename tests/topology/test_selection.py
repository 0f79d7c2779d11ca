"""Points dealt in the order of keys: parts of exact sizes, the same whoever has which point."""

import numpy as np
import pytest
from mpi4py import MPI

from hpcml.topology.selection import deal_in_order, ordered_key


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("distinct", [1, 7, 10**9])
def test_parts_follow_the_order_of_keys_and_numbers(comm, distinct):
    rng = np.random.default_rng(0)
    keys, segments = rng.integers(0, distinct, 300, np.uint64), rng.integers(0, 3, 300)
    sizes = np.bincount(segments, minlength=3)
    ends = [[0, int(sizes[0])], [], [int(sizes[2]) // 3, int(sizes[2]) // 2, int(sizes[2]) - 1]]
    mine = rng.integers(0, comm.size, 300) == comm.rank
    found = deal_in_order(keys[mine], np.flatnonzero(mine), segments[mine], ends, comm)
    expected = np.zeros(300, int)
    for segment, limits in enumerate(ends):
        order = np.flatnonzero(segments == segment)[np.lexsort((np.flatnonzero(segments == segment), keys[segments == segment]))]
        expected[order] = np.searchsorted(limits, np.arange(len(order)), side="right")
    assert np.array_equal(found, expected[mine])


def test_no_points_at_all():
    nothing = np.zeros(0, np.int64)
    assert len(deal_in_order(nothing.astype(np.uint64), nothing, nothing, [[0]], MPI.COMM_SELF)) == 0


def test_keys_stand_in_the_order_of_the_numbers():
    numbers = np.array([-np.inf, -1e300, -1.0, -5e-324, 0.0, 5e-324, 1.0, 1e300, np.inf])
    assert (np.diff(ordered_key(numbers).astype(object)) > 0).all()
