"""Points dealt to parts in the order of a key, each part of an exact size, without any rank knowing all of them.

    part(i) = number of parts that end before i's place among all points of its segment, in the order of (key, id)

The key at each end of a part is found four bits at a time, from the highest on: all ranks count their own keys below each of the fifteen
candidates, and the sums over ranks tell which sixteenth holds it. What comes out depends on keys and ids alone, not on who has which.
"""

from collections.abc import Sequence

import numpy as np
from mpi4py import MPI

from hpcml.mpi.reductions import all_sum

DIGIT = 4
"""Bits that are found in one all-reduce: a number for each of their 15 values and each end."""
_WORD = 64


def ordered_key(values: np.ndarray) -> np.ndarray:
    """Numbers as uint64 in the same order: -0.0 is 0.0, and there is to be no NaN.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> keys = ordered_key(np.array([-2.0, -0.0, 0.0, 3.0]))
    >>> bool(keys[0] < keys[1] == keys[2] < keys[3])
    True
    """
    bits = (np.asarray(values, np.float64) + 0.0).view(np.uint64)
    negative = bits >> np.uint64(_WORD - 1) == 1
    return np.where(negative, ~bits, bits | np.uint64(1 << (_WORD - 1)))


def deal_in_order(
    keys: np.ndarray, ids: np.ndarray, segments: np.ndarray, ends: Sequence[Sequence[int]], comm: MPI.Intracomm
) -> np.ndarray:
    """Part of its segment that each point is dealt to.

    Parameters
    ----------
    keys : ndarray
        uint64, (point,): this rank's points; there may be none.
    ids : ndarray
        int64, (point,): tells points of equal keys apart; no two of all ranks are alike.
    segments : ndarray
        int64, (point,): which of the segments each is in.
    ends : sequence of sequence of int
        For each segment the points of all ranks in its first part, in its first two, ... but for the last part; ascending.
    comm : mpi4py.MPI.Intracomm
        The ranks.

    Returns
    -------
    ndarray
        int64, (point,).

    Communication
    -------------
    Collective: 32 all-reduces of 15 numbers for each end.

    Examples
    --------
    >>> deal_in_order(np.array([5, 1, 3], np.uint64), np.arange(3), np.zeros(3, np.int64), [[2]], MPI.COMM_SELF).tolist()
    [1, 0, 0]
    """
    owners = np.repeat(np.arange(len(ends)), [len(of) for of in ends])
    targets = np.array([end for of in ends for end in of], np.int64)
    order = np.lexsort((ids, keys, segments))
    numbers = np.asarray(ids, np.int64).astype(np.uint64)
    sorted_keys, sorted_ids, begins = keys[order], numbers[order], np.searchsorted(segments[order], np.arange(len(ends) + 1))
    spans = [(int(begins[s]), int(begins[s + 1])) for s in owners]
    last = _least(sorted_keys, spans, targets, comm)
    ties = [_span(sorted_keys, span, key) for span, key in zip(spans, last, strict=True)]
    below = all_sum(np.array([tie[0] - span[0] for tie, span in zip(ties, spans, strict=True)], np.int64), comm)
    last_ids = _least(sorted_ids, ties, targets - below, comm)
    parts = np.zeros(len(keys), np.int64)
    for segment, key, number in zip(owners, last, last_ids, strict=True):
        mine = segments == segment
        parts += mine & ((keys > key) | ((keys == key) & (numbers >= number)))
    return parts


def _least(words: np.ndarray, spans: Sequence[tuple[int, int]], targets: np.ndarray, comm: MPI.Intracomm) -> np.ndarray:
    """Largest word with at most so many of all ranks' below it, for each span, in which words ascend."""
    found = np.zeros(len(spans), np.uint64)
    digits = np.arange(1, 1 << DIGIT, dtype=np.uint64)
    for shift in range(_WORD - DIGIT, -1, -DIGIT):
        candidates = found[:, None] | digits << np.uint64(shift)
        counts = [np.searchsorted(words[first:end], row) for (first, end), row in zip(spans, candidates, strict=True)]
        total = all_sum(np.array(counts, np.int64).reshape(candidates.shape), comm)
        found |= (total <= targets[:, None]).sum(1).astype(np.uint64) << np.uint64(shift)
    return found


def _span(words: np.ndarray, span: tuple[int, int], word: np.uint64) -> tuple[int, int]:
    """Where in a span a word stands."""
    first, end = span
    return tuple(int(first + np.searchsorted(words[first:end], word, side)) for side in ("left", "right"))  # type: ignore[return-value]
