"""From one layout to another and back, any number of ranks make the same file."""

from dataclasses import replace

import numpy as np
import pytest

from hpcml.core.errors import CheckpointError, ConfigError
from hpcml.io.dataset import convert, create_dataset, open_dataset


@pytest.mark.parallel([1, 2, 3])
def test_there_and_back(comm, shared_path, space, values):
    space, values = replace(space, fields=space.fields[:2]), values[:, :, :3]
    with create_dataset(shared_path / "a.hdf5", "the-well", space, comm) as dataset:
        for trajectory, run in enumerate(values):
            dataset.write(trajectory, 0, run)  # every rank the same
    comm.Barrier()
    convert(shared_path / "a.hdf5", shared_path / "b.h5", "pdebench", comm)
    assert convert(shared_path / "b.h5", shared_path / "c.hdf5", "the-well", comm) == space
    with open_dataset(shared_path / "b.h5", comm) as groups:
        assert groups.layout == "pdebench-groups" and np.array_equal(groups.read(1), values[1])
    assert (shared_path / "a.hdf5").read_bytes() == (shared_path / "c.hdf5").read_bytes()


@pytest.mark.parallel([1, 2])
def test_a_mistake_leaves_nothing_behind(comm, shared_path, space):
    create_dataset(shared_path / "a.hdf5", "the-well", space, comm).close()
    for target, family, kind, message in [
        ("b.hdf5", "pdebench", ConfigError, "PDEBench's arrays hold"),
        ("b.zarr", "the-well", ConfigError, "ends in .hdf5 or .h5"),
        ("b.hdf5", "netcdf", ConfigError, "no layout 'netcdf': expected the-well or pdebench"),
        ("a.hdf5", "the-well", ConfigError, "exists already"),
    ]:
        with pytest.raises(kind, match=message):
            convert(shared_path / "a.hdf5", shared_path / target, family, comm)
    with pytest.raises(CheckpointError, match="no dataset"):
        convert(shared_path / "none.hdf5", shared_path / "b.hdf5", "the-well", comm)
    comm.Barrier()
    assert [path.name for path in shared_path.iterdir()] == ["a.hdf5"]
