"""Points along Hilbert's space-filling curve, cut into pieces of equal length.

J. Skilling, AIP Conference Proceedings 707, 381 (2004), for the place of a cell on the curve.
"""

import numpy as np
from mpi4py import MPI

from hpcml.mpi.reductions import all_max, all_min, all_sum
from hpcml.topology.block import block_range
from hpcml.topology.selection import deal_in_order

_BITS = {1: 62, 2: 31, 3: 21}
"""Of each coordinate, by dims: their number on the curve has one word."""


def space_filling_curve(points: np.ndarray, ids: np.ndarray, num_parts: int, comm: MPI.Intracomm) -> np.ndarray:
    """Part of each point; see `hpcml.topology.bisection.recursive_bisection`, whose parts have smaller surfaces and take longer.

    Communication
    -------------
    Collective: 35 all-reduces of some numbers for each part.

    Examples
    --------
    >>> space_filling_curve(np.array([[0, 0], [3, 0], [0, 1], [3, 1.0]]), np.arange(4), 2, MPI.COMM_SELF).tolist()
    [0, 1, 0, 1]
    """
    total = all_sum(len(points), comm)
    ends = [block_range(total, num_parts, part).stop for part in range(num_parts - 1)]
    low = all_min(points.min(0, initial=np.inf), comm)
    side = float((all_max(points.max(0, initial=-np.inf), comm) - low).max())
    bits = _BITS[points.shape[1]]
    cells = np.minimum((points - low) * ((1 << bits) / side if side > 0 else 0.0), (1 << bits) - 1).astype(np.uint64)
    return deal_in_order(hilbert_number(cells, bits), ids, np.zeros(len(points), np.int64), [ends], comm)


def hilbert_number(cells: np.ndarray, bits: int) -> np.ndarray:
    """Place on the curve of cells of a cube of 2^bits along each side.

    Parameters
    ----------
    cells : ndarray
        uint64, (cell, dim): not negative, below 2^bits.
    bits : int
        Times the dims at most 64.

    Returns
    -------
    ndarray
        uint64, (cell,). Cells of neighboring numbers share a face.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> hilbert_number(np.array([[0, 0], [0, 1], [1, 1], [1, 0]], np.uint64), 1).tolist()
    [0, 1, 2, 3]
    """
    x, one = [axis.copy() for axis in cells.T], np.uint64(1)
    for bit in range(bits - 1, 0, -1):  # undo the turns and reflections of the cubes around each cell, from the largest on
        below = np.uint64((1 << bit) - 1)
        for axis in x:
            is_set = axis >> np.uint64(bit) & one == 1
            swapped = np.where(is_set, np.uint64(0), (x[0] ^ axis) & below)
            x[0] ^= np.where(is_set, below, swapped)
            axis ^= swapped
    for i in range(1, len(x)):
        x[i] ^= x[i - 1]
    flips = np.zeros_like(x[0])
    for bit in range(bits - 1, 0, -1):
        flips ^= np.where(x[-1] >> np.uint64(bit) & one == 1, np.uint64((1 << bit) - 1), np.uint64(0))
    number = np.zeros_like(x[0])
    for bit in range(bits - 1, -1, -1):
        for axis in x:
            number = number << one | (axis ^ flips) >> np.uint64(bit) & one
    return number
