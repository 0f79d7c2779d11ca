"""Layouts that a plan was made for, compared at every call as fast as Python allows."""

import math
from dataclasses import dataclass
from typing import Any

import torch

from hpcml.core.errors import DeviceError, ShapeError
from hpcml.kernels.arguments import TORCH_NAMES, Array, array_info
from hpcml.kernels.strided_box import StridedBox, indexed_box


@dataclass(frozen=True, slots=True)
class FieldLayout:
    """Shape, strides in elements, dtype by its NumPy name and bytes per element: what a plan needs to know of a field."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    itemsize: int

    @classmethod
    def of(cls, array: Array) -> "FieldLayout":
        info = array_info(array)
        return cls(info.shape, info.strides, info.dtype, info.itemsize)

    def box(self, index: Any) -> StridedBox:
        """Canonical form of what an index selects; a `StridedBox` is taken as it is."""
        return index if isinstance(index, StridedBox) else indexed_box(self.shape, self.strides, self.itemsize, index)

    def address(self, array: Array, device: str) -> int:
        """Address of a field of this layout on a device.

        Raises
        ------
        ShapeError
            For another shape, strides or dtype.
        DeviceError
            For an array elsewhere.
        """
        if (
            isinstance(array, torch.Tensor)
            and array.shape == self.shape
            and array.stride() == self.strides
            and TORCH_NAMES[array.dtype] == self.dtype
            and array.is_cpu == (device == "cpu")
        ):
            return array.data_ptr()
        info = array_info(array)
        if info.device != device:
            raise DeviceError(f"expected a field on {device}, where the buffer is, got one on {info.device}")
        same = [n < 2 or a == b for n, a, b in zip(self.shape, self.strides, info.strides, strict=False)]
        if info.shape != self.shape or info.dtype != self.dtype or not all(same):
            raise ShapeError(
                f"expected a field of {self.dtype} with shape {self.shape} and strides {self.strides}, "
                f"got {info.dtype} with shape {info.shape} and strides {info.strides}: make a plan for it"
            )
        return info.address


def buffer_address(buffer: Array, nbytes: int) -> tuple[str, int]:
    """Device and address of a contiguous buffer.

    Raises
    ------
    ShapeError
        For a buffer of another size, or one that is not contiguous.
    """
    if isinstance(buffer, torch.Tensor) and buffer.is_cpu and buffer.nbytes == nbytes and buffer.is_contiguous():
        return "cpu", buffer.data_ptr()
    info = array_info(buffer)
    size = info.itemsize * math.prod(info.shape)
    if size != nbytes or not info.contiguous:
        raise ShapeError(f"expected a contiguous buffer of {nbytes} bytes, got {size} bytes (contiguous: {info.contiguous})")
    return info.device, info.address
