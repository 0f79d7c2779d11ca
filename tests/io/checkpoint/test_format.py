"""Every format version that was ever written can be read: one stored checkpoint for each.

mpiexec -n 2 python tests/io/checkpoint/test_format.py      writes the one of the present version
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from hpcml.io import Blocked, Rows, restore
from hpcml.io.checkpoint.stored.catalog import FORMAT_VERSION

STORED = Path(__file__).parent / "data"
WHOLE = torch.arange(12.0).reshape(4, 3)


def state(rank):
    return {
        "model": {"weight": torch.arange(6, dtype=torch.bfloat16).reshape(3, 2), "bias": torch.tensor(2.5)},
        "field": Blocked(WHOLE[2 * rank : 2 * rank + 2], (2 * rank, 0), (4, 3)),
        "random": Rows(np.full((rank + 1, 2), rank, np.uint64)),
        "mask": np.array([True, False]),
        "spectrum": np.array([1 + 2j]),
        "groups": [{"lr": 0.1, "betas": (0.9, 0.999), "name": "ä", "none": None, "raw": b"\x00\xff", "on": True}],
        7: 2**70,
    }


def assert_right(state_restored, random):
    model = state_restored["model"]
    assert model["weight"].dtype is torch.bfloat16 and model["weight"].tolist() == [[0, 1], [2, 3], [4, 5]] and model["bias"].item() == 2.5
    assert torch.equal(state_restored["field"], WHOLE) and state_restored["random"].dtype == np.uint64
    assert state_restored["random"].tolist() == random and state_restored["mask"].tolist() == [True, False]
    assert state_restored["spectrum"].tolist() == [1 + 2j] and state_restored["groups"] == state(0)["groups"] and state_restored[7] == 2**70


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize("version", range(1, FORMAT_VERSION + 1))
def test_every_version_can_be_read(comm, version):
    restored = restore(STORED / f"format-{version}", comm)
    assert restored.step == 3 and restored.skipped == {}
    rows = [[[0, 0], [1, 1], [1, 1]]] if comm.size == 1 else [[[0, 0]], [[1, 1], [1, 1]]]
    assert_right(restored.state, rows[comm.rank])


@pytest.mark.parametrize("version", range(1, FORMAT_VERSION + 1))
def test_the_view_shows_the_arrays_to_any_hdf5_reader(version):
    import h5py

    (view,) = (STORED / f"format-{version}").glob("step-*/checkpoint.h5")
    with h5py.File(view) as file:
        assert np.array_equal(file["state/field"], WHOLE) and file["state/mask"][:].tolist() == [True, False]
        assert file["state/model/bias"][()] == 2.5


def write():
    from mpi4py import MPI

    from hpcml.io import Checkpointer

    folder = STORED / f"format-{FORMAT_VERSION}"
    shutil.rmtree(folder, ignore_errors=True)
    MPI.COMM_WORLD.Barrier()
    with Checkpointer(folder, MPI.COMM_WORLD) as checkpointer:
        checkpointer.save(3, state(MPI.COMM_WORLD.rank))
    (folder / ".lock").unlink(missing_ok=True)


if __name__ == "__main__":
    write()
