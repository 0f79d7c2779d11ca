"""Memory for results as large as a field, taken back when their last user is gone.

The system hands out large pieces of memory page by page, at the first touch, each time anew: for a transform that takes as long as the
arithmetic.
"""

import weakref

import torch
from torch import Tensor

LARGE_BYTES = 2**20  # smaller pieces stay in the process anyway
MOST_SPARE = 4  # pieces of one size that wait for a user
_spare: dict[int, list[Tensor]] = {}


def recycled(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Give a tensor with undefined content, in memory that an earlier one of the same size has left where there is such.

    Parameters
    ----------
    shape, dtype, device
        As of `torch.empty`. Only large host memory is recycled; GPUs have a cache of their own.

    Communication
    -------------
    Local.

    Notes
    -----
    A tensor's memory is free when the tensor, all its views and whatever autograd has saved of it are gone.

    Examples
    --------
    >>> first = recycled((1024, 1024), torch.float32, torch.device("cpu"))
    >>> address = first.data_ptr()
    >>> del first
    >>> recycled((1024, 1024), torch.float32, torch.device("cpu")).data_ptr() == address
    True
    """
    num_bytes = torch.Size(shape).numel() * dtype.itemsize
    if num_bytes < LARGE_BYTES or device.type != "cpu":
        return torch.empty(shape, dtype=dtype, device=device)
    spare = _spare.setdefault(num_bytes, [])
    memory = spare.pop() if spare else torch.empty(num_bytes, dtype=torch.uint8)
    lent = memory.numpy()  # an object of its own, which the tensor's storage holds on to and nothing else
    weakref.finalize(lent, _take_back, spare, memory).atexit = False
    return torch.from_numpy(lent).view(dtype).view(shape)


def _take_back(spare: list[Tensor], memory: Tensor) -> None:
    if len(spare) < MOST_SPARE:
        spare.append(memory)
