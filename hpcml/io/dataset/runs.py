"""Where the cells of a box lie in a file."""

from collections.abc import Sequence

import numpy as np

from hpcml.topology.block import BlockRange


def runs(shape: Sequence[int], box: Sequence[BlockRange]) -> tuple[np.ndarray, int]:
    """Stretches of consecutive elements that make up a box of an array in C order.

    Parameters
    ----------
    shape : sequence of int
        Of the array.
    box : sequence of BlockRange
        One range for each dim.

    Returns
    -------
    starts : numpy.ndarray, int64
        First element of each stretch, in the order of the box's own elements.
    length : int
        Elements of every stretch; as many as possible, so a box of whole rows is one stretch.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> starts, length = runs((3, 4), [BlockRange(0, 2), BlockRange(1, 3)])
    >>> starts.tolist(), length
    ([1, 5], 2)
    """
    if any(r.size == 0 for r in box):
        return np.zeros(0, np.int64), 0
    strides = [int(np.prod(shape[d + 1 :], dtype=np.int64)) for d in range(len(shape))]
    inner, length = len(shape), 1
    while inner > 0:
        inner -= 1
        length *= box[inner].size
        if box[inner].size < shape[inner]:
            break
    starts = np.array([sum(r.start * stride for r, stride in zip(box[inner:], strides[inner:], strict=True))], np.int64)
    for r, stride in zip(reversed(box[:inner]), reversed(strides[:inner]), strict=True):
        starts = (np.arange(r.start, r.stop)[:, None] * stride + starts).reshape(-1)
    return starts, length
