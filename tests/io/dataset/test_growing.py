"""A file appears once all of it is there; what is finished is not asked for again."""

import os

import numpy as np
import pytest
from mpi4py import MPI

from hpcml.core.errors import CheckpointError
from hpcml.io.dataset import open_dataset
from hpcml.io.dataset.growing import GrowingDataset
from hpcml.io.files.lock import FolderLock
from hpcml.topology.block import BlockRange


@pytest.mark.parallel([1, 2, 3])
def test_trajectory_by_trajectory(comm, shared_path, space, values):
    path, block = shared_path / "a.hdf5", tuple(BlockRange(0, n) for n in space.grid_shape)

    def go_on(*wanted):
        with GrowingDataset(path, space, "case", comm) as file:
            asked = file.missing
            for trajectory in wanted:
                if trajectory % comm.size == comm.rank:
                    file.write(trajectory, 0, values[trajectory], block)
                    file.finish(trajectory, MPI.COMM_SELF)
        return asked

    with pytest.raises(CheckpointError, match=r"a\.hdf5 lacks trajectories \[2\]"):
        go_on(0, 1)
    assert not path.exists()
    assert go_on(2) == [2]
    comm.Barrier()  # rank 0 gives the folder back last of all
    assert sorted(p.name for p in shared_path.iterdir()) == ["a.hdf5"]
    with open_dataset(path, comm) as dataset:
        assert all(np.array_equal(dataset.read(trajectory), run) for trajectory, run in enumerate(values))
    assert go_on() == []


def test_two_jobs_do_not_make_one_file(comm, tmp_path, space, monkeypatch):
    monkeypatch.setattr(FolderLock.__init__, "__defaults__", (0.1,))  # its patience, seconds
    other = FolderLock(tmp_path)
    with pytest.raises(CheckpointError, match="is in use by process"):
        GrowingDataset(tmp_path / "a.hdf5", space, "case", comm)
    other.close()


@pytest.mark.timeout(20)  # a reader of a pipe waits for ever
def test_a_pipe_in_place_of_the_progress_is_named(comm, tmp_path, space):
    (tmp_path / "a.hdf5.partial").touch()
    os.mkfifo(tmp_path / "a.hdf5.progress")
    with pytest.raises(CheckpointError, match=r"it is a pipe, not a file"):
        GrowingDataset(tmp_path / "a.hdf5", space, "case", comm)
