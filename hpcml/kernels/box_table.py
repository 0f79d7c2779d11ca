"""The table that the box kernels read: strided boxes as four nested loops, the best loop innermost."""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from hpcml.kernels.strided_box import StridedBox

ROW = 16  # int64 per box: field, first byte in it and in the buffer, bytes per element; then 4 counts, 4 field strides, 4 buffer strides
LOOPS = 4
# An inner loop this long pays for its start; beyond it the nearer loop is the better one, for its cache lines.
LONG_LOOP = 16
MAX_WORD = 16  # widest load of a GPU
LINE = 64  # bytes of a cache line
TURN = 32  # cells, whose cache lines stay in the first-level cache beside as many of the buffer

Loop = tuple[int, int, int]  # count, stride in the field, stride in the buffer


def common_word(boxes: Sequence[StridedBox]) -> int:
    """Largest element in bytes (1, 2, 4, 8 or 16) by which all boxes can be moved: wide elements make short runs cheap.

    Examples
    --------
    Two columns of float32 move as one 8-byte element per row:

    >>> common_word([StridedBox(4, (128, 8), (520, 1))])
    8
    """
    word = MAX_WORD
    for box in boxes:
        run = box.counts[-1] if box.strides[-1] == 1 else 1
        word = math.gcd(word, run, *box.strides[:-1])
    return word


def box_table(fields: Sequence[int], boxes: Sequence[StridedBox], offsets: Sequence[int], element: int) -> np.ndarray:
    """Rows for boxes of the fields numbered, placed in the buffer at the offsets.

    Parameters
    ----------
    fields : sequence of int
        Number of each box's field.
    boxes, offsets : sequence
        Each box and its first byte in the buffer, where its elements follow one another.
    element : int
        Bytes per element; divides all runs and strides.

    Returns
    -------
    ndarray of int64, (rows, ROW)
        In order of the boxes. A box of more than four loops gives several rows.

    Communication
    -------------
    Local.
    """
    rows = [
        [field, box.start + start * element, offset + packed * element, element, *itertools.chain(*zip(*loops, strict=True))]
        for field, box, offset in zip(fields, boxes, offsets, strict=True)
        for start, packed, loops in _rows(box, element)
    ]
    return np.array(rows, dtype=np.int64).reshape(-1, ROW)


def boxes_overlap(fields: Sequence[int], boxes: Sequence[StridedBox]) -> bool:
    """Whether two of the boxes, or two indices of one, meet in a byte of the same field."""
    bytes_of: dict[int, list[np.ndarray]] = {}
    for field, box in zip(fields, boxes, strict=True):
        visited = np.array([box.start])
        for count, stride in zip(box.counts, box.strides, strict=True):
            visited = np.add.outer(visited, np.arange(count) * stride).ravel()
        bytes_of.setdefault(field, []).append(visited)
    return any(len(np.unique(joined)) < len(joined) for joined in map(np.concatenate, bytes_of.values()))


def _rows(box: StridedBox, element: int) -> Iterator[tuple[int, int, list[Loop]]]:
    if not box.nbytes:
        return
    loops = _ordered(_element_loops(box, element))
    outer, inner = loops[:-LOOPS], loops[-LOOPS:]
    inner = [(1, 0, 0)] * (LOOPS - len(inner)) + inner
    for index in itertools.product(*(range(count) for count, _, _ in outer)):
        start = sum(i * stride for i, (_, stride, _) in zip(index, outer, strict=True))
        packed = sum(i * stride for i, (_, _, stride) in zip(index, outer, strict=True))
        yield start, packed, inner


def _element_loops(box: StridedBox, element: int) -> list[Loop]:
    """Loops of a box over elements instead of bytes, with the strides of the packed buffer."""
    counts, strides = list(box.counts), list(box.strides)
    if strides[-1] == 1:
        counts[-1] //= element
        strides[-1] = element
    packed = [math.prod(counts[d + 1 :]) for d in range(len(counts))]
    loops = [(n, s // element, p) for n, s, p in zip(counts, strides, packed, strict=True) if n > 1]
    return loops or [(1, 1, 1)]


def _ordered(loops: list[Loop]) -> list[Loop]:
    """Move the loop that runs best innermost: a contiguous one counts twice, a nearer one wins among long ones."""
    best = max(range(len(loops)), key=lambda d: (min(loops[d][0] * (2 if loops[d][1:] == (1, 1) else 1), LONG_LOOP), d))
    return [*loops[:best], *loops[best + 1 :], loops[best]]


def by_turns(table: np.ndarray) -> np.ndarray:
    """The same copies with neighboring boxes in one row, some cells of the one and some of the other by turns.

    The faces at both ends of the unit-stride dim lie next to each other, the end of a row beside the start of the next one: the one finds
    its cache lines where the other has just brought them.

    Parameters
    ----------
    table : ndarray of int64, (rows, ROW)
        Of boxes that may be copied in any order.

    Returns
    -------
    ndarray of int64, (rows, ROW)
        The table itself where no two rows are such neighbors.
    """
    rows: list[np.ndarray] = []
    for row in table:
        if rows and _are_neighbors(rows[-1], row):
            rows += _merged(rows.pop(), row)
        else:
            rows.append(row)
    return np.array(rows, dtype=np.int64).reshape(-1, ROW)


def _are_neighbors(row: np.ndarray, other: np.ndarray) -> bool:
    """Whether two rows differ in their starts only, and touch the same cache lines, one for every cell or so."""
    element, pitch = int(row[3]), abs(int(row[11] * row[3]))
    apart, packed_apart = (int(other[k] - row[k]) for k in (1, 2))
    return (
        row[0] == other[0]
        and bool(np.all(row[3:] == other[3:]) and np.all(row[5:7] == 1))
        and row[7] >= TURN
        and pitch >= LINE
        and abs(apart) <= pitch
        and min(apart % pitch, -apart % pitch) < LINE
        and apart % element == packed_apart % element == 0
    )


def _merged(row: np.ndarray, other: np.ndarray) -> Iterator[np.ndarray]:
    """One row for both, with loops over turns, the two and the cells of a turn; then what is left of each."""
    element, whole = row[3], row[7] // TURN
    both = row.copy()
    both[5:8] = whole, 2, TURN
    for first, start in ((8, 1), (12, 2)):
        both[first + 1 : first + 3] = TURN * row[first + 3], (other[start] - row[start]) // element
    yield both
    if row[7] % TURN:
        for rest in (row.copy(), other.copy()):
            rest[1:3] += whole * TURN * rest[[11, 15]] * element
            rest[7] %= TURN
            yield rest
