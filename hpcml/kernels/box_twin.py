"""What the box kernels mean: torch views of the boxes, copied one after the other."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from hpcml.kernels.arguments import Array, address_of, as_tensor

WORD_DTYPES = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.complex128}


def pack_twin(buffer: Array, fields: Sequence[Array], table: np.ndarray, boxes: int) -> None:
    """Copy every box of the table into the buffer."""
    for packed, part, backward in _boxes(buffer, fields, table, as_words=True):
        packed.copy_(part.flip(backward))


def unpack_twin(buffer: Array, fields: Sequence[Array], table: np.ndarray, boxes: int) -> None:
    """Copy the buffer into every box of the table."""
    for packed, part, backward in _boxes(buffer, fields, table, as_words=True):
        part.copy_(packed.flip(backward))


def accumulate_twin(buffer: Array, fields: Sequence[Array], table: np.ndarray, boxes: int) -> None:
    """Add the buffer onto every box of the table."""
    for packed, part, backward in _boxes(buffer, fields, table, as_words=False):
        part.add_(packed.flip(backward))


def _boxes(buffer: Array, fields: Sequence[Array], table: np.ndarray, as_words: bool) -> Iterator[tuple[Tensor, Tensor, list[int]]]:
    """For each row: its part of the buffer, its part of the field, and the dims in which the field runs backward."""
    tensors = [as_tensor(field) for field in fields]
    for number, start, offset, element, *loops in table.tolist():
        tensor = tensors[number]
        dtype = WORD_DTYPES[element] if as_words else tensor.dtype.to_real()
        counts, strides, packed = loops[:4], loops[4:8], loops[8:]
        backward = [d for d, stride in enumerate(strides) if stride < 0]
        start += sum((counts[d] - 1) * strides[d] for d in backward) * element
        part = _view(tensor, address_of(fields[number]), dtype, start, counts, [abs(stride) for stride in strides])
        yield _view(as_tensor(buffer), address_of(buffer), dtype, offset, counts, packed), part, backward


def _view(tensor: Tensor, address: int, dtype: torch.dtype, start: int, counts: Sequence[int], strides: Sequence[int]) -> Tensor:
    """Elements of any dtype, the first of them so many bytes after an address inside a tensor's storage."""
    storage = tensor.untyped_storage()
    first = (address + start - storage.data_ptr()) // dtype.itemsize
    return torch.empty(0, dtype=dtype, device=tensor.device).set_(storage, first, counts, strides)
