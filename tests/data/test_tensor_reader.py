"""Files of torch, NumPy and MATLAB by content, and every other one refused in one sentence that says what to do."""

import sys

import h5py
import numpy as np
import pytest
import torch

from hpcml.core.errors import ConfigError
from hpcml.data.tensor_reader import read_tensors

X, Y = torch.arange(24.0).view(2, 3, 4), -torch.arange(24.0).view(2, 3, 4)


def legacy(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def npz(content, path):
    with path.open("wb") as file:
        np.savez(file, **content)


def matlab_5(content, path):
    pytest.importorskip("scipy.io").savemat(path, {name: np.asarray(value) for name, value in content.items()})


def matlab_7_3(content, path):
    """HDF5 behind a block of MATLAB's own, the first index fastest."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in content.items():
            file[name] = np.asarray(value).T
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512))


def big_endian(content, path):
    npz({name: np.asarray(value).astype(">f4") for name, value in content.items()}, path)


def extended(content, path):
    npz({name: np.asarray(value).astype("g") for name, value in content.items()}, path)


WRITERS = {"a.pt": torch.save, "a.PT": torch.save, "a.pth": legacy, "a.npz": npz, "a.NPZ": npz, "b.npz": big_endian, "c.npz": extended,
           "a.mat": matlab_5, "a.MAT": matlab_7_3, "data": torch.save}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_arrays_come_by_name_whatever_the_file(name, tmp_path):
    WRITERS[name]({"y": Y, "other": Y, "x": X}, tmp_path / name)
    x, y = read_tensors(tmp_path / name, ("x", "y"))
    assert torch.equal(x.float(), X) and torch.equal(y.float(), Y)


def saved(value):
    return lambda path: torch.save(value, path)


def packed(**arrays):
    return lambda path: npz(arrays, path)


def one_array(path):
    with path.open("wb") as file:
        np.save(file, X)


def hdf5(path):
    with h5py.File(path, "w") as file:
        file["x"] = X


REFUSED = {
    "a list": (saved([X, Y]), "holds a list of 2 without names: expected a mapping that holds x and y; save both with torch.save"),
    "a bare tensor": (saved(X), "holds a Tensor without names"),
    "a list in a mapping": (saved({"x": [1.0, 2.0], "y": Y}), "x should be a tensor or an array, got a list of 2"),
    "a tensor missing": (saved({"x": X, 3: Y}), "has no array 'y': it holds x, 3; name them in data.input and data.target"),
    "an array missing": (packed(x=X, a=Y), "has no array 'y': it holds x, a; name them"),
    "complex numbers": (saved({"x": X * 1j, "y": Y}), "x should be a dense array of real numbers, got complex64: write the real and"),
    "complex arrays": (packed(x=X.numpy() * 1j, y=Y), "x should be a dense array of real numbers, got complex64"),
    "sparse tensors": (
        saved({"x": X, "y": Y.to_sparse()}),
        "y should be a dense array of real numbers, got float32, torch.sparse_coo: save it after .to_dense()",
    ),
    "text": (packed(x=np.array(["a"]), y=Y), "x should be a dense array of real numbers, got <U1: write numbers in place of text"),
    "times": (
        packed(x=X.numpy().astype("datetime64[s]"), y=Y),
        r"got datetime64\[s\]: write times as numbers, in one unit since one moment$",
    ),
    "objects": (packed(x=np.array([{}]), y=Y), "cannot read .* as .pt, .npz or .mat: ValueError: Object arrays cannot be loaded"),
    "one array": (one_array, "holds a single array without a name"),
    "a dataset": (hdf5, "is an HDF5 file: read it with data.kind = 'dataset'"),
    "nothing": (lambda path: path.touch(), "cannot read .* as .pt, .npz or .mat: EOFError"),
    "a folder": (lambda path: path.mkdir(), "is no regular file: name a .pt, .npz or .mat file"),
    "no file": (lambda path: None, "there is no file .*: data.train and data.test are relative to where the command runs"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_one_sentence_with_what_to_do(name, tmp_path):
    make, message = REFUSED[name]
    make(tmp_path / "a.pt")
    with pytest.raises(ConfigError, match=message) as caught:
        read_tensors(tmp_path / "a.pt", ("x", "y"))
    assert "a.pt" in str(caught.value) and "\n" not in str(caught.value)


def test_matlabs_older_format_without_scipy_says_so(tmp_path, monkeypatch):
    matlab_5({"x": X, "y": Y}, tmp_path / "a.mat")
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ConfigError, match="needs the package scipy: install it, or save with -v7.3"):
        read_tensors(tmp_path / "a.mat", ("x", "y"))
