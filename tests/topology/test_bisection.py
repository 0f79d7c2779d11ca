"""Recursive bisection: even parts, short cuts, the same from any distribution of the points."""

import numpy as np
import pytest
from mpi4py import MPI

from hpcml.topology.bisection import recursive_bisection
from hpcml.topology.block import block_range
from hpcml.topology.curve import space_filling_curve


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("way", [recursive_bisection, space_filling_curve])
@pytest.mark.parametrize(("dims", "parts"), [(1, 3), (2, 5), (3, 8)])
def test_parts_are_even_and_depend_on_the_points_alone(comm, way, dims, parts):
    rng = np.random.default_rng(dims)
    points = rng.random((203, dims)).round(1)  # many coordinates are alike
    mine = rng.integers(0, comm.size, 203) == comm.rank
    whole = way(points, np.arange(203), parts, MPI.COMM_SELF)
    assert np.bincount(whole, minlength=parts).tolist() == [block_range(203, parts, part).size for part in range(parts)]
    assert np.array_equal(way(points[mine], np.flatnonzero(mine), parts, comm), whole[mine])


@pytest.mark.parametrize("way", [recursive_bisection, space_filling_curve])
def test_parts_of_a_grid_are_compact(way):
    side = 32
    points = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1).reshape(-1, 2).astype(float)
    parts = way(points, np.arange(side**2), 16, MPI.COMM_SELF).reshape(side, side)
    cut = (np.diff(parts, axis=0) != 0).sum() + (np.diff(parts, axis=1) != 0).sum()
    assert cut == 2 * 3 * side  # sixteen squares


@pytest.mark.parametrize("way", [recursive_bisection, space_filling_curve])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_fewer_points_than_parts_and_points_in_one_place(way, count):
    parts = way(np.ones((count, 2)), np.arange(count), 5, MPI.COMM_SELF)
    assert sorted(parts.tolist()) == list(range(count))
