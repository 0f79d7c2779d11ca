"""Rows of tensors as bytes, so that those of any dtype travel."""

import math

import numpy as np
import torch
from torch import Tensor


def as_rows(value: Tensor) -> np.ndarray:
    """Rows of a tensor, uint8, (row, byte).

    Communication
    -------------
    Local.

    Examples
    --------
    >>> as_tensor(as_rows(torch.tensor([[1.5], [2.5]])), torch.float32, (1,)).tolist()
    [[1.5], [2.5]]
    """
    width = math.prod(value.shape[1:])
    if not value.numel():
        return np.zeros((len(value), width * value.element_size()), np.uint8)
    flat = value.detach().cpu().reshape(len(value), width).contiguous()
    rows: np.ndarray = flat.view(torch.uint8).numpy()
    return rows


def as_tensor(rows: np.ndarray, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    """Rows of a shape and dtype, of their bytes; see `as_rows`.

    Communication
    -------------
    Local.
    """
    if not rows.size:
        return torch.empty(len(rows), *shape, dtype=dtype)
    return torch.from_numpy(np.ascontiguousarray(rows)).view(dtype).reshape(len(rows), *shape)
