"""A file is readable by plain HDF5 while its writer lives, and its length is known."""

import os

import h5py
import numpy as np
import pytest

from hpcml.core.errors import CheckpointError
from hpcml.io.snapshot.superblock import check_length, publish


def test_what_is_published_opens_as_any_file(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=("v110", "v110"), locking=False) as file:
        dataset = file.create_dataset("u", (0, 100), maxshape=(None, 100), chunks=(1, 100), dtype="f4")
        file.swmr_mode = True
        descriptor = os.open(path, os.O_RDWR)
        (tmp_path / "marked.h5").write_bytes(path.read_bytes())  # what a kill would leave
        with pytest.raises(OSError, match="already open for write"):
            h5py.File(tmp_path / "marked.h5")
        for step in range(5):
            dataset.resize(step + 1, 0)
            dataset[step] = step
            dataset.flush()
            publish(descriptor)
            copy = tmp_path / f"{step}.h5"
            copy.write_bytes(path.read_bytes())
            check_length(copy)
            with h5py.File(copy) as plain:
                assert np.array_equal(plain["u"][:], np.repeat(np.arange(step + 1), 100).reshape(-1, 100))
        os.close(descriptor)
    check_length(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="truncated"):
        check_length(path)
