"""Bytes of a strided box in one canonical form, whichever NumPy or torch view described it.

The bytes are those of nested loops, the last index running fastest:

    byte(i_0, ..., i_n) = start + sum_d i_d strides_d,        0 <= i_d < counts_d
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hpcml.core.errors import ShapeError
from hpcml.kernels.arguments import Array, array_info


@dataclass(frozen=True, slots=True)
class StridedBox:
    """A sequence of bytes as nested strided loops in the only way that has no superfluous loop.

    Attributes
    ----------
    start : int
        First byte, counted from the first byte of the array.
    counts, strides : tuple of int
        Length and step (in bytes) of each loop, the outermost first. No count is 1 unless it is the only one, and no loop continues the one
        inside it, so that two boxes that visit the same bytes in the same order are equal.

    Notes
    -----
    Make one with `canonical_box` or `box_of`. Where the order does not matter, compare `pattern`.

    References
    ----------
    C. Pearson et al., TEMPI: an interposed MPI library with a canonical representation of CUDA-aware datatypes, HPDC 2021.
    """

    start: int
    counts: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Number of bytes visited, those visited twice counted twice."""
        return math.prod(self.counts)

    @property
    def pattern(self) -> "StridedBox":
        """Which bytes are visited, in whichever order: loops forward, the longest step outermost, repetitions dropped."""
        start = self.start + sum((n - 1) * s for n, s in zip(self.counts, self.strides, strict=True) if s < 0)
        if not self.nbytes:
            return self
        joined: list[tuple[int, int]] = []
        for step, count in sorted((abs(s), n) for n, s in zip(self.counts, self.strides, strict=True) if s != 0):
            if joined and step % joined[-1][0] == 0 and step <= joined[-1][0] * joined[-1][1]:
                inner_step, inner_count = joined.pop()
                step, count = inner_step, (count - 1) * step // inner_step + inner_count
            joined.append((step, count))
        joined.reverse()
        return canonical_box(start, [n for _, n in joined], [s for s, _ in joined])


def canonical_box(start: int, counts: Sequence[int], strides: Sequence[int]) -> StridedBox:
    """Canonical form of nested loops over bytes.

    Parameters
    ----------
    start : int
        First byte.
    counts, strides : sequence of int
        Any loops, the outermost first; a loop over the bytes of one element, ``(itemsize, 1)``, comes last.

    Returns
    -------
    StridedBox
        Loops of one step are left out, and a loop that continues the one inside it is joined with it.

    Raises
    ------
    ShapeError
        For a negative count or unequal numbers of counts and strides.

    Communication
    -------------
    Local.

    Examples
    --------
    A face of a 4 x 5 array of doubles, and all of it:

    >>> canonical_box(0, (4, 1, 8), (40, 8, 1))
    StridedBox(start=0, counts=(4, 8), strides=(40, 1))
    >>> canonical_box(0, (4, 5, 8), (40, 8, 1))
    StridedBox(start=0, counts=(160,), strides=(1,))
    """
    if len(counts) != len(strides) or min(counts, default=0) < 0:
        raise ShapeError(f"a box needs as many strides as counts, none negative: got counts {tuple(counts)}, strides {tuple(strides)}")
    if 0 in counts:
        return StridedBox(0, (0,), (1,))
    loops: list[tuple[int, int]] = []
    for count, stride in zip(reversed(counts), reversed(strides), strict=True):
        if count == 1:
            continue
        if loops and stride == loops[-1][0] * loops[-1][1]:
            loops[-1] = (loops[-1][0] * count, loops[-1][1])
        else:
            loops.append((count, stride))
    loops = loops[::-1] or [(1, 1)]
    return StridedBox(start, tuple(n for n, _ in loops), tuple(s for _, s in loops))


def box_of(array: Array, index: Any = ()) -> StridedBox:
    """Canonical form of an array, or of what an index of integers and slices selects of it.

    Parameters
    ----------
    array : array
        NumPy, torch or CuPy, strided in any way.
    index : tuple of int, slice or Ellipsis
        As in ``array[index]``; steps may be negative, for torch too.

    Returns
    -------
    StridedBox
        In bytes from the first element of ``array``.

    Raises
    ------
    ShapeError
        For an index that the array does not have.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> import numpy as np
    >>> box_of(np.zeros((4, 5)), (slice(1, 3), slice(0, 5)))
    StridedBox(start=40, counts=(80,), strides=(1,))
    """
    info = array_info(array)
    return indexed_box(info.shape, info.strides, info.itemsize, index)


def indexed_box(shape: Sequence[int], strides: Sequence[int], itemsize: int, index: Any = ()) -> StridedBox:
    """`box_of` for an array that is not there yet: its shape, its strides in elements and its bytes per element."""
    start, counts, steps = 0, [], []
    for entry, extent, stride in zip(_full_index(index, len(shape)), shape, strides, strict=True):
        if isinstance(entry, slice):
            chosen = range(extent)[entry]
            counts.append(len(chosen))
            steps.append(chosen.step * stride * itemsize)
            first = chosen.start if len(chosen) else 0
        elif -extent <= entry < extent:
            first = range(extent)[entry]
        else:
            raise ShapeError(f"index {entry} is outside the {extent} elements of a dim of shape {tuple(shape)}")
        start += first * stride * itemsize
    return canonical_box(start, [*counts, itemsize], [*steps, 1])


def _full_index(index: Any, ndim: int) -> list[Any]:
    entries = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis not in entries:
        entries.append(Ellipsis)
    gap = entries.index(Ellipsis)
    missing = ndim - (len(entries) - 1)
    if missing < 0 or not all(isinstance(e, (int, slice)) for e in (*entries[:gap], *entries[gap + 1 :])):
        raise ShapeError(f"expected at most {ndim} integers and slices with one Ellipsis, got {index!r}")
    return [*entries[:gap], *[slice(None)] * missing, *entries[gap + 1 :]]
