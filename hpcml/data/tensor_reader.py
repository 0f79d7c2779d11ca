"""Arrays by name from files of torch, NumPy and MATLAB, told apart by their content; what else there may be is refused with what to do."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from hpcml.core.errors import ConfigError, HpcmlError
from hpcml.core.printable import printable
from hpcml.io.dataset.real_numbers import as_real_numbers
from hpcml.io.files.confined_file import ConfinedFile

_HDF5, _NPY, _ZIP = b"\x89HDF\r\n\x1a\n", b"\x93NUMPY", b"PK\x03\x04"
_SAVE = "save both with torch.save({...}) or numpy.savez(...), by name"


def read_tensors(path: Path, names: Sequence[str]) -> list[Tensor]:
    """Read real arrays by name.

    Parameters
    ----------
    path : Path
        What ``torch.save`` made of a mapping, in its present or its older format, ``numpy.savez``, or MATLAB's ``save``.
    names : sequence of str
        Of the arrays.

    Returns
    -------
    list of Tensor
        Of whatever real type is in the file; arrays that torch has written stay in the file until they are used.

    Raises
    ------
    ConfigError
        Naming the file, the array, and what to do: no such file or array, another format, numbers that are not real.

    Communication
    -------------
    Local.
    """
    if not path.exists():
        raise ConfigError(f"there is no file {path}: data.train and data.test are relative to where the command runs")
    if not path.is_file():
        raise ConfigError(f"{path} is no regular file: name a .pt, .npz or .mat file")
    try:
        found = _READERS[_format(path)](path, names)
    except HpcmlError:
        raise
    except Exception as error:  # what a damaged or foreign file raises is up to its reader
        raise ConfigError(f"cannot read {path} as .pt, .npz or .mat: {type(error).__name__}: {_first_line(error)}; write it anew") from None
    return [_tensor(path, name, value) for name, value in zip(names, found, strict=True)]


def _format(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(520)
    if head.startswith(_ZIP):
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
        return "torch" if any(name.endswith("data.pkl") for name in members) else "npz"
    if head.startswith(b"MATLAB 7.3"):
        return "matlab 7.3"
    if head.startswith(b"MATLAB 5.0"):
        return "matlab 5"
    return "npy" if head.startswith(_NPY) else "hdf5" if head.startswith(_HDF5) else "torch"


def _torch(path: Path, names: Sequence[str]) -> list[Any]:
    try:
        content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except RuntimeError as error:
        if "mmap" not in str(error):
            raise
        content = torch.load(path, map_location="cpu", weights_only=True)  # the format before torch 1.6, which cannot stay in the file
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds {_kind(content)} without names: expected a mapping that holds {' and '.join(names)}; {_SAVE}")
    return _chosen(path, content, names)


def _npz(path: Path, names: Sequence[str]) -> list[Any]:
    with np.load(path) as content:
        return _chosen(path, content, names)


def _npy(path: Path, names: Sequence[str]) -> list[Any]:
    raise ConfigError(f"{path} holds a single array without a name: expected {' and '.join(names)}; {_SAVE}")


def _hdf5(path: Path, names: Sequence[str]) -> list[Any]:
    raise ConfigError(f"{path} is an HDF5 file: read it with data.kind = 'dataset', or {_SAVE}")


def _matlab_5(path: Path, names: Sequence[str]) -> list[Any]:
    try:
        from scipy.io import loadmat
    except ImportError:
        raise ConfigError(
            f"{path} is of MATLAB's older format, which needs the package scipy: install it, or save with -v7.3 in MATLAB"
        ) from None
    return _chosen(path, loadmat(io.BytesIO(path.read_bytes())), names)


def _matlab_7_3(path: Path, names: Sequence[str]) -> list[Any]:
    with ConfinedFile(path, locking=False) as file:
        arrays = {name: thing for name, thing in file.items() if isinstance(thing, h5py.Dataset)}
        return [array[()].T for array in _chosen(path, arrays, names)]  # MATLAB counts the first index fastest


_READERS = {"torch": _torch, "npz": _npz, "npy": _npy, "hdf5": _hdf5, "matlab 5": _matlab_5, "matlab 7.3": _matlab_7_3}


def _chosen(path: Path, content: Any, names: Sequence[str]) -> list[Any]:
    for name in names:
        if name not in content:
            there = ", ".join(str(key) for key in content if not str(key).startswith("__")) or "nothing"
            raise ConfigError(f"{path} has no array {name!r}: it holds {printable(there)}; name them in data.input and data.target")
    return [content[name] for name in names]


def _tensor(path: Path, name: str, value: Any) -> Tensor:
    """The array as a plain real tensor."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "iuf":
            value = value.astype(value.dtype.newbyteorder("=") if value.dtype.itemsize <= 8 else np.float64, copy=False)
        real, kind = value.dtype.kind in "biuf", str(value.dtype)
        remedy = as_real_numbers(value.dtype.kind, "channels")
    elif isinstance(value, Tensor):
        real = not (value.is_complex() or value.is_quantized or value.is_meta) and value.layout == torch.strided
        kind = f"{value.dtype}".removeprefix("torch.") + ("" if value.layout == torch.strided else f", {value.layout}")
        remedy = as_real_numbers("c", "channels") if value.is_complex() else "save it after .to_dense() or .dequantize()"
    else:
        raise ConfigError(f"{path}: {name} should be a tensor or an array, got {_kind(value)}: {_SAVE}")
    if not real:
        raise ConfigError(f"{path}: {name} should be a dense array of real numbers, got {kind}: {remedy}")
    return value.detach() if isinstance(value, Tensor) else torch.from_numpy(np.ascontiguousarray(value))


def _kind(value: object) -> str:
    length = f" of {len(value)}" if isinstance(value, list | tuple) else ""
    return f"a {type(value).__name__}{length}"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
