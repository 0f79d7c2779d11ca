"""Rows arrive where they are sent, and every rank learns what it asks."""

import numpy as np
import pytest

from hpcml.core.errors import TopologyError
from hpcml.topology.directory import Directory, send_rows


@pytest.mark.parallel([1, 2, 3])
def test_rows_come_in_the_order_of_those_who_send_them(comm):
    ranks = np.arange(6) % comm.size
    numbers = 10 * comm.rank + np.arange(6)
    came, pairs = send_rows(ranks, comm, numbers, np.stack([numbers, numbers], 1))
    assert came.tolist() == [10 * rank + i for rank in range(comm.size) for i in range(6) if i % comm.size == comm.rank]
    assert np.array_equal(pairs, np.stack([came, came], 1))


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("total", [2, 17])
def test_what_was_given_by_one_rank_is_told_to_another(comm, total):
    mine = np.flatnonzero(np.random.default_rng(1).integers(0, comm.size, total) == comm.rank)
    directory = Directory(mine, mine**2, total, comm)
    wanted = np.random.default_rng(comm.rank).integers(0, total, 9 * comm.rank)
    assert np.array_equal(directory.ask(wanted), wanted**2)


@pytest.mark.parallel([1, 2])
def test_a_number_that_does_not_exist_is_named(comm):
    directory = Directory(np.arange(comm.rank, 4, comm.size), np.zeros(len(range(comm.rank, 4, comm.size))), 4, comm)
    with pytest.raises(TopologyError, match="index 4 is outside"):
        directory.ask(np.array([4]))
