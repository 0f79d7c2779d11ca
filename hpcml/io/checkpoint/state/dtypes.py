"""Element types on file: those of NumPy under their own names, the others of torch as integers of the same width.

Torch is imported where it is needed: whoever looks at what a checkpoint holds may do without.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from hpcml.core.errors import CheckpointError

if TYPE_CHECKING:
    import torch

_NUMPY_KINDS = "biufc"


def dtype_name(array: Any, where: str) -> str:
    """Name under which an array's element type is recorded, ``"float32"`` or ``"bfloat16"``.

    Raises
    ------
    CheckpointError
        For a type that no file can hold (objects, strings, quantised numbers); `where` names the entry.
    """
    if not isinstance(array, np.ndarray):
        import torch

        name = str(array.dtype).removeprefix("torch.")
        if array.layout is torch.strided and not array.is_quantized:
            return name
    else:
        name = array.dtype.name
        if array.dtype.kind in _NUMPY_KINDS:
            return name
    raise CheckpointError(f"entry {where} is a {type(array).__name__} of {name}, which a checkpoint cannot store: save plain numbers")


def storage_dtype(name: str) -> np.dtype:
    """NumPy type of the elements on file."""
    try:
        dtype = np.dtype(name)
        if dtype.kind in _NUMPY_KINDS:
            return dtype
    except TypeError:
        pass
    return np.dtype(f"int{8 * _torch_dtype(name).itemsize}")


def as_tensor(stored: np.ndarray, name: str) -> "torch.Tensor":
    """The tensor of type `name` that shares the memory of a stored array."""
    import torch

    tensor = torch.from_numpy(stored)
    dtype = _torch_dtype(name)
    return tensor if tensor.dtype is dtype else tensor.view(dtype)


def _torch_dtype(name: str) -> "torch.dtype":
    import torch

    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise CheckpointError(f"element type {name!r} is unknown to this torch {torch.__version__}: install a newer one")
    return dtype
