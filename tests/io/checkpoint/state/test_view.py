"""A checkpoint shows its arrays to any reader of HDF5."""

import h5py
import numpy as np
import pytest
from mpi4py import MPI

from hpcml.io import Checkpointer, restore
from hpcml.io.files.confined_file import ConfinedFile


@pytest.mark.parametrize("name, stored", [("größe", "gr%C3%B6%C3%9Fe"), ("100 %", "100 %25"), ("a/b", "a%2Fb"), ("%b", "%25b")])
def test_arrays_of_any_name_are_saved_and_shown(name, stored, tmp_path):
    with Checkpointer(tmp_path, MPI.COMM_SELF) as checkpointer:
        checkpointer.save(1, {name: np.arange(3.0)})
    assert restore(tmp_path, MPI.COMM_SELF).state[name].tolist() == [0, 1, 2]
    view = next(tmp_path.glob("step-*")) / "checkpoint.h5"
    for reader in (h5py.File(view), ConfinedFile(view)):
        with reader as file:
            assert file[f"state/{stored}"][()].tolist() == [0, 1, 2]
