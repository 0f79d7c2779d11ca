"""Any box on any rank is what was written, whoever wrote it; each rank fetches its own bytes and no others."""

import multiprocessing
import pickle
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from mpi4py import MPI

from hpcml.core.errors import CheckpointError, ConfigError, ShapeError
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


def read_elsewhere(dataset, results):
    with Path("/dev/null").open("rb"), dataset:  # takes the number that the first file has in the other process
        results.put(dataset.read(0))


def test_a_copy_in_another_process_opens_the_files_itself(tmp_path, rng):
    """It carried the numbers of descriptors, which are other files there."""
    values = written(tmp_path / "a.hdf5", "the-well", plain(), MPI.COMM_SELF, rng)
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    with open_dataset(tmp_path / "a.hdf5") as dataset:
        dataset.read(1)
        worker = context.Process(target=read_elsewhere, args=(dataset, results))
        worker.start()
        assert np.array_equal(results.get(), values[0])
        worker.join()
        with pickle.loads(pickle.dumps(dataset)) as copy:
            assert copy._storage._descriptors == {} and np.array_equal(copy.read(2), values[2])


@pytest.mark.parametrize("name", ["", ".", "a/b", "/a", "a\0b", "\udce4"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_names_that_hdf5_would_take_for_paths_are_refused(name, layout, tmp_path):
    space = plain()
    for change in ({"name": name}, {"fields": (Field(name),)}, {"constants": {name: (1.0,)}}):
        with pytest.raises(ConfigError, match="nothing in a dataset can be called"):
            create_dataset(tmp_path / "a.hdf5", layout, replace(space, **change))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["..", "ünïcödé 模", "x" * 300, "a&<b>", "a\nb"])
def test_other_names_are_kept(name, tmp_path):
    space = replace(plain((4,)), name=name, fields=(Field(name),), constants={name + "c": (1.0,)})
    create_dataset(tmp_path / "a.hdf5", "the-well", space).close()
    with open_dataset(tmp_path / "a.hdf5") as dataset:
        assert dataset.description == space


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


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parallel([1, 2, 3])
def test_a_descending_axis_is_read_from_low_to_high(layout, packed, comm, shared_path, rng):
    space, path = plain((6, 5), 2, 3), shared_path / "a.hdf5"
    values = written(path, layout, space, comm, rng)
    if comm.rank == 0:
        turn_second_dim(path, packed)
    comm.Barrier()
    with open_dataset(path, comm) as dataset, decompose(Grid(space.grid_shape), comm) as domain:
        assert dataset.description == space
        assert np.array_equal(dataset.read(1, range(1, 3), domain.block), values[1, 1:3][domain.index])
    if comm.rank == 0:
        with open_dataset(path, writable=not packed) as dataset:
            if not packed:
                dataset.write(0, 1, values[1, :1, :, 2:4, 1:5], [BlockRange(2, 4), BlockRange(1, 5)])
                assert np.array_equal(dataset.read(0, range(1, 2))[..., 2:4, 1:5], values[1, :1, :, 2:4, 1:5])


def turn_second_dim(path, packed):
    """Write every array from high to low y, as images have it."""
    with h5py.File(path, "r+") as file:
        for name in [n for n in ("dimensions/y", "y-coordinate", "0000/grid/y", "0001/grid/y") if n in file]:
            file[name][:] = file[name][()][::-1]
        for name in [n for n in ("t0_fields/u", "tensor", "0000/data", "0001/data") if n in file]:
            turned, attributes = np.flip(file[name][()], -2 if name.endswith("data") else -1), dict(file[name].attrs)
            if packed:
                del file[name]
                file.create_dataset(name, data=turned, chunks=True, compression="gzip").attrs.update(attributes)
            else:
                file[name][...] = turned


def test_complex_numbers_are_refused_and_not_cut_to_their_real_part(tmp_path):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["tensor"] = np.ones((2, 3, 8), "c8")
        file["x-coordinate"], file["t-coordinate"] = np.arange(8.0), np.arange(3.0)
    with pytest.raises(
        CheckpointError, match=r"a.hdf5: /tensor should be of real numbers, got complex64: write the real and the imaginary"
    ):
        open_dataset(tmp_path / "a.hdf5")


def test_a_filter_that_is_not_there_is_named_and_one_that_is_in_hdf5plugin_is_loaded(tmp_path, rng, mpiexec):
    plugin = pytest.importorskip("hdf5plugin")
    values = rng.standard_normal((2, 3, 8)).astype("f4")
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file.create_dataset("tensor", data=values, **plugin.Zstd())
        file["x-coordinate"], file["t-coordinate"] = np.arange(8.0), np.arange(3.0)
    done = mpiexec(1, "-c", FILTERED, tmp_path / "a.hdf5")
    message, total = done.stdout.splitlines()
    assert "/tensor is packed by the HDF5 filter 32015" in message and "install the package hdf5plugin" in message
    assert float(total) == values[1].astype(float).sum()


FILTERED = """
import sys
from hpcml.core.errors import CheckpointError
from hpcml.io.dataset import open_dataset
assert "hdf5plugin" not in sys.modules
sys.modules["hdf5plugin"] = None  # as if it were not installed
try:
    open_dataset(sys.argv[1])
except CheckpointError as error:
    print(error)
del sys.modules["hdf5plugin"]
with open_dataset(sys.argv[1]) as dataset:
    print(float(dataset.read(1).astype(float).sum()))
"""


def test_a_file_that_is_open_elsewhere_is_read_or_refused_with_what_to_do(tmp_path, mpiexec):
    for libver in ("earliest", "latest"):
        with h5py.File(tmp_path / libver, "w", libver=libver) as file:
            file["tensor"] = np.ones((2, 3, 8), "f4")
            file["x-coordinate"], file["t-coordinate"] = np.arange(8.0), np.arange(3.0)
    done = mpiexec(1, "-c", HELD, tmp_path)
    assert done.stdout.startswith("24.0\ncannot read the dataset "), done.stderr
    assert "; another program has it open for writing, or died at that: close it there" in done.stdout


HELD = """
import os, sys, h5py
from hpcml.core.errors import CheckpointError
from hpcml.io.dataset import open_dataset
ours, theirs = os.pipe(), os.pipe()
if os.fork() == 0:
    held = [h5py.File(f"{sys.argv[1]}/{libver}", "r+", libver=libver) for libver in ("earliest", "latest")]
    os.write(ours[1], b"x")
    os.read(theirs[0], 1)
    os._exit(0)
os.read(ours[0], 1)
try:
    with open_dataset(f"{sys.argv[1]}/earliest") as dataset:
        print(dataset.read(1).sum())
    open_dataset(f"{sys.argv[1]}/latest")
except CheckpointError as error:
    print(error)
os.write(theirs[1], b"x")
os.wait()
"""


def test_numbers_that_float32_has_no_room_for_are_refused(tmp_path):
    with create_dataset(tmp_path / "a.hdf5", "the-well", plain((8,))) as dataset:
        dataset.write(0, 0, np.full((1, 1, 8), 1e30))
        assert dataset.read(0).max() == np.float32(1e30)
        with pytest.raises(CheckpointError, match=r"/t0_fields/u has room for numbers up to 3.4e\+38, got 1e\+40: choose another unit"):
            dataset.write(0, 1, np.full((1, 1, 8), 1e40))
