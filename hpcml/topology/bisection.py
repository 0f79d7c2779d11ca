"""Recursive coordinate bisection: points are cut in two across the longest side of their box, again and again.

Berger and Bokhari, IEEE Transactions on Computers C-36, 570 (1987).
"""

import numpy as np
from mpi4py import MPI

from hpcml.mpi.reductions import all_max, all_min, all_sum
from hpcml.topology.block import block_range
from hpcml.topology.selection import deal_in_order, ordered_key


def recursive_bisection(points: np.ndarray, ids: np.ndarray, num_parts: int, comm: MPI.Intracomm) -> np.ndarray:
    """Part of each point.

    Parameters
    ----------
    points : ndarray
        float64, (point, dim): positions of this rank's points; there may be none.
    ids : ndarray
        int64, (point,): no two of all ranks are alike.
    num_parts : int
        Any number.
    comm : mpi4py.MPI.Intracomm
        The ranks.

    Returns
    -------
    ndarray
        int64, (point,). Part p has as many points as `block_range` deals to block p; who has which point does not matter.

    Communication
    -------------
    Collective: 34 all-reduces of some numbers for each part, as often as parts are halved.

    Examples
    --------
    >>> recursive_bisection(np.array([[0, 0], [3, 0], [1, 1], [2, 1.0]]), np.arange(4), 2, MPI.COMM_SELF).tolist()
    [0, 1, 0, 1]
    """
    total = all_sum(len(points), comm)
    starts = np.array([block_range(total, num_parts, part).start for part in range(num_parts)] + [total])
    parts, spans = np.zeros(len(points), np.int64), [(0, num_parts)]
    while any(end - first > 1 for first, end in spans):
        halved = [(first, end) for first, end in spans if end - first > 1]
        segments = np.searchsorted([first for first, _ in halved], parts, side="right") - 1
        inside = np.isin(parts, [first for first, _ in halved])
        axes = _longest_sides(points[inside], segments[inside], len(halved), comm)
        keys = ordered_key(points[inside, axes[segments[inside]]])
        middles = [(first + end) // 2 for first, end in halved]
        ends = [[int(starts[middle] - starts[first])] for (first, _), middle in zip(halved, middles, strict=True)]
        upper = deal_in_order(keys, ids[inside], segments[inside], ends, comm) == 1
        moved = np.flatnonzero(inside)[upper]
        parts[moved] = np.array(middles)[segments[moved]]
        spans = [half for first, end in spans for half in ([(first, end)] if end - first < 2 else _halves(first, end))]
    return parts


def _halves(first: int, end: int) -> list[tuple[int, int]]:
    middle = (first + end) // 2
    return [(first, middle), (middle, end)]


def _longest_sides(points: np.ndarray, segments: np.ndarray, num_segments: int, comm: MPI.Intracomm) -> np.ndarray:
    """Axis of the longest side of the box around each segment; the first of equal ones."""
    low = np.full((num_segments, points.shape[1]), np.inf)
    high = -low
    np.minimum.at(low, segments, points)
    np.maximum.at(high, segments, points)
    sides: np.ndarray = all_max(high, comm) - all_min(low, comm)
    return np.argmax(sides, 1)
