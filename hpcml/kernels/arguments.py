"""What a launch needs to know of an array, whichever library made it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hpcml.core.errors import ShapeError

Array = Any  # numpy.ndarray, torch.Tensor or cupy.ndarray

TORCH_NAMES = {dtype: str(dtype).removeprefix("torch.") for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)}


@dataclass(frozen=True, slots=True)
class ArrayInfo:
    """Address, shape, strides (in elements), dtype by its NumPy name, itemsize, device (``cpu``, ``cuda:0``) and writability."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    itemsize: int
    device: str
    writable: bool

    @property
    def contiguous(self) -> bool:
        """Whether the elements follow one another in C order."""
        expected = 1
        for count, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if count != 1 and stride != expected:
                return 0 in self.shape
            expected *= count
        return True


def is_array(value: object) -> bool:
    """Whether a value is an array of a library that kernels accept."""
    return isinstance(value, (np.ndarray, torch.Tensor)) or hasattr(value, "__cuda_array_interface__")


def array_info(array: Array) -> ArrayInfo:
    """Describe a NumPy array, a torch tensor or a CuPy array.

    Raises
    ------
    ShapeError
        For anything else, and for NumPy strides that are no whole number of elements.
    """
    if isinstance(array, torch.Tensor):
        device = "cpu" if array.device.type == "cpu" else f"{array.device.type}:{array.device.index or 0}"
        name = TORCH_NAMES[array.dtype]
        return ArrayInfo(array.data_ptr(), tuple(array.shape), array.stride(), name, array.element_size(), device, True)
    if isinstance(array, np.ndarray):
        address, device, writable = array.__array_interface__["data"][0], "cpu", array.flags.writeable
    elif hasattr(array, "__cuda_array_interface__"):
        address, device, writable = array.data.ptr, f"cuda:{array.device.id}", True
    else:
        raise ShapeError(f"expected a NumPy array, a torch tensor or a CuPy array, got {type(array).__name__}")
    if any(stride % array.itemsize for stride in array.strides):
        raise ShapeError(f"strides {array.strides} are no multiples of the {array.itemsize} bytes of {array.dtype}: pass a copy")
    strides = tuple(stride // array.itemsize for stride in array.strides)
    return ArrayInfo(address, array.shape, strides, array.dtype.name, array.itemsize, device, writable)


def address_of(array: Array) -> int:
    """Address of an array's first element, as fast as it can be had."""
    if isinstance(array, torch.Tensor):
        return array.data_ptr()
    if isinstance(array, np.ndarray):
        return array.__array_interface__["data"][0]
    return array.data.ptr


def as_tensor(array: Array) -> torch.Tensor:
    """The same memory as a torch tensor; dims that a NumPy array runs through backward are turned forward."""
    if isinstance(array, np.ndarray):
        return torch.from_numpy(array[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in array.strides)])
    return array if isinstance(array, torch.Tensor) else torch.utils.dlpack.from_dlpack(array)
