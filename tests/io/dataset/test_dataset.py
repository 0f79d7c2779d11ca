"""Any box on any rank is what was written, whoever wrote it; each rank fetches its own bytes and no others."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from hpcml.core.errors import CheckpointError, ShapeError
from hpcml.fields import Grid, decompose
from hpcml.io.dataset import Description, Field, create_dataset, open_dataset
from hpcml.topology.block import BlockRange

LAYOUTS = ("the-well", "pdebench", "pdebench-groups")


def plain(shape=(48, 40), trajectories=5, times=6):
    """One scalar, which every layout holds."""
    centres = tuple(tuple((i + 0.5) / 64 for i in range(n)) for n in shape)  # exact in float32
    return Description("plain", (Field("u"),), trajectories, tuple(t / 8 for t in range(times)), centres, (True,) * len(shape))


def written(path, layout, space, comm, rng):
    """Values (trajectory, time, channel, *cells); rank by rank, every rank wrote some trajectories."""
    values = rng.standard_normal((space.num_trajectories, space.num_times, 1, *space.grid_shape)).astype("f4")
    with create_dataset(path, layout, space, comm) as dataset:
        for trajectory in range(comm.rank, space.num_trajectories, comm.size):
            dataset.write(trajectory, 0, values[trajectory])
    comm.Barrier()
    return values


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parallel([1, 2, 3])
def test_blocks_are_those_of_what_was_written(layout, comm, shared_path, rng):
    space = plain()
    values = written(shared_path / "a.hdf5", layout, space, comm, rng)
    with open_dataset(shared_path / "a.hdf5", comm) as dataset, decompose(Grid(space.grid_shape), comm) as domain:
        assert dataset.layout == layout and dataset.description == space
        for trajectory in range(space.num_trajectories):
            found = dataset.read(trajectory, range(1, 6, 2), domain.block)
            assert np.array_equal(found, values[trajectory, 1:6:2][domain.index])


@pytest.mark.parallel([1, 2, 3])
def test_fields_of_all_orders_and_chosen_channels(comm, shared_path, space, values):
    with create_dataset(shared_path / "a.hdf5", "the-well", space, comm) as dataset:
        if comm.rank == comm.size - 1:
            for trajectory, run in enumerate(values):
                dataset.write(trajectory, 0, run[:2])
                dataset.write(trajectory, 2, run[2:])
    comm.Barrier()
    with open_dataset(shared_path / "a.hdf5", comm) as dataset:
        assert dataset.description == space
        chosen = dataset.description.channels_of(["bed", "velocity"])
        found = dataset.read(2, range(1, 3), [BlockRange(1, 4), BlockRange(2, 5)], chosen)
        assert np.array_equal(found, values[2, 1:3][:, chosen, 1:4, 2:5])


def accounted():
    """Bytes that this process has asked the operating system for, by its own accounting."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="Linux tells what a process has read")
@pytest.mark.parametrize("dims", ["rows", "columns"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parallel([1, 2, 3, 4])
def test_a_rank_reads_its_share_and_the_operating_system_agrees(dims, layout, comm, shared_path, rng):
    space = plain()
    written(shared_path / "a.hdf5", layout, space, comm, rng)
    chosen = (comm.size, 1) if dims == "rows" else (1, comm.size)
    with open_dataset(shared_path / "a.hdf5", comm) as dataset, decompose(Grid(space.grid_shape), comm, chosen) as domain:
        before = accounted()
        for trajectory in range(space.num_trajectories):
            dataset.read(trajectory, block=domain.block)
        asked = accounted() - before
        cells = np.prod(domain.local_shape) / domain.grid.num_cells  # 1 / P, and part of a row more where P does not divide the rows
        assert dataset.bytes_read == dataset.num_bytes * cells
        assert 0 <= asked - dataset.bytes_read < 4096  # reading /proc/self/io itself takes some hundred bytes


@pytest.mark.parallel([1, 2])
def test_compressed_chunks_are_counted_as_they_are_stored(comm, shared_path, rng):
    space, path = plain(), shared_path / "a.hdf5"
    values = written(path, "the-well", space, comm, rng)
    if comm.rank == 0:
        with h5py.File(path, "r+") as file:
            attributes = dict(file["t0_fields/u"].attrs)
            del file["t0_fields/u"]
            packed = file["t0_fields"].create_dataset("u", data=values[:, :, 0], chunks=(1, 1, 16, 40), compression="gzip")
            packed.attrs.update(attributes)
    comm.Barrier()
    with open_dataset(path, comm) as dataset:
        block = [BlockRange(16, 32), BlockRange(3, 40)]
        assert np.array_equal(dataset.read(1, range(2, 4), block), values[1, 2:4, :, 16:32, 3:40])
        assert 0 < dataset.bytes_read < 2 * 16 * 40 * 4  # two chunks, which compression made smaller


def test_big_endian_double_precision_is_read_as_this_machine_has_it(tmp_path, rng):
    drawn = rng.standard_normal((2, 3, 8))
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["tensor"] = drawn.astype(">f8")
        file["x-coordinate"], file["t-coordinate"] = np.arange(8.0), np.arange(4.0)
    with open_dataset(tmp_path / "a.hdf5") as dataset:
        found = dataset.read(1)
        assert found.dtype == np.float64 and np.array_equal(found[:, 0], drawn[1])


def test_what_is_outside_is_refused(tmp_path, rng):
    from mpi4py import MPI

    space = plain((8,))
    values = written(tmp_path / "a.hdf5", "pdebench", space, MPI.COMM_SELF, rng)
    with open_dataset(tmp_path / "a.hdf5", writable=True) as dataset:
        for trajectory, times, block in [(5, None, None), (0, range(5, 7), None), (0, None, [BlockRange(4, 9)])]:
            with pytest.raises(ShapeError, match="not inside the dataset plain of 5 trajectories, 6 times"):
                dataset.read(trajectory, times, block)
        with pytest.raises(ShapeError, match=r"expected values of \(2, 1, 8\)"):
            dataset.write(0, 0, values[0, :2, :, :4])


def test_a_file_cut_off_while_it_is_open_is_named(tmp_path, rng):
    from mpi4py import MPI

    written(tmp_path / "a.hdf5", "the-well", plain((8,)), MPI.COMM_SELF, rng)
    with open_dataset(tmp_path / "a.hdf5") as dataset:
        with (tmp_path / "a.hdf5").open("r+b") as file:
            file.truncate(64)
        with pytest.raises(CheckpointError, match=r"cannot read /t0_fields/u of .*a.hdf5: the file ends 192 bytes too early"):
            dataset.read(4)
