"""What any ranks write, any reader reads: whole, in order, and again after another number of ranks has gone on."""

import math
import shlex
import shutil
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from mpi4py import MPI

from hpcml.core.errors import CheckpointError, ConfigError, ShapeError
from hpcml.io import Compression, Field, Series, SnapshotFile, SnapshotWriter, UniformGrid

FULL = """
import sys
import numpy as np
from mpi4py import MPI
from hpcml.core.errors import CheckpointError
from hpcml.io import Compression, Field, Series, SnapshotFile, SnapshotWriter, UniformGrid
path, layout = sys.argv[1] + "/run.h5", sys.argv[2]
comm, step = MPI.COMM_WORLD, -1
grid = UniformGrid.dealt((128, 128), (1.0, 1.0), (comm.size, 1), (comm.rank, 0))
try:
    with SnapshotWriter(path, Series(grid, [Field("u"), Field("v")]), comm, layout=layout) as writer:
        for step in range(1000):
            writer.append(step, {name: np.full((grid.block[0].size, 128), step) for name in "uv"})
except CheckpointError as error:
    print(error)
if comm.rank == 0:
    file = SnapshotFile(path)
    print(len(file.view.times) == step > 5 and all((file.read("v", (i,)) == i).all() for i in range(step)))
"""


def assert_holds(path, steps, snapshots, num_dims=2):
    """Every value of every step, as our reader gives it and as plain HDF5 does, from a copy such as a kill would leave; its attributes."""
    with tempfile.TemporaryDirectory() as folder:
        copy = _copy(path, folder)
        with h5py.File(copy) as file:
            plain = {name: file[name][:] for name in ("u", "p")}
        file = SnapshotFile(copy)
        assert file.view.times.tolist() == [0.5 * step for step in range(steps)]
        for step in range(steps):
            for name, whole in snapshots.in_files(step, num_dims).items():
                assert np.array_equal(plain[name][step], whole) and np.array_equal(file.read(name, (step,)), whole)
        return file.view.attributes


def _copy(path, folder):
    shutil.copy(path, folder)
    shutil.copytree(path.with_suffix(".parts"), Path(folder) / f"{path.stem}.parts", ignore=shutil.ignore_patterns(".lock*"))
    return Path(folder) / path.name


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize("num_dims", [1, 2, 3])
def test_what_ranks_write_is_there_whole(num_dims, comm, shared_path, snapshots, layout):
    snapshots.write(shared_path / "run.h5", comm, 3, num_dims, layout=layout)
    attributes = assert_holds(shared_path / "run.h5", 3, snapshots, num_dims)
    assert attributes["complete"] and attributes["equation"] == "heat" and attributes["viscosity"] == 0.5


@pytest.mark.parallel([1, 2])
def test_a_step_is_there_for_any_reader_once_it_is_acknowledged(comm, shared_path, snapshots, layout):
    path = shared_path / "run.h5"
    described = snapshots.series(comm)
    index = (..., *(slice(part.start, part.stop) for part in described.geometry.block))
    with SnapshotWriter(path, described, comm, layout=layout) as writer:
        for step in range(3):
            writer.append(0.5 * step, {name: whole[index] for name, whole in snapshots.content(step).items()})
            assert not assert_holds(path, step + 1, snapshots)["complete"]
            comm.Barrier()  # the next step must not come while another rank counts


@pytest.mark.parallel([2, 3])
def test_other_ranks_go_on_from_a_time(comm, shared_path, snapshots, layout):
    path = shared_path / "run.h5"
    snapshots.write(path, comm, 3, layout=layout)
    if comm.rank == 0:
        snapshots.write(path, MPI.COMM_SELF, 4, after=0.5)
        assert_holds(path, 4, snapshots)
    comm.Barrier()
    snapshots.write(path, comm, 6, ranks=(comm.size, 1), after=math.inf, layout=layout)
    assert_holds(path, 6, snapshots)


@pytest.mark.parallel([1, 2])
def test_what_is_replaced_stays_until_there_is_something_new(comm, shared_path, snapshots):
    path = shared_path / "run.h5"
    snapshots.write(path, comm, 3)
    parts = comm.bcast(set((shared_path / "run.parts").glob("*.h5")))
    if comm.rank == 0:
        (shared_path / "run.parts" / "some-body's").mkdir()  # in the way of nothing
    with pytest.raises(ConfigError, match="fields"), SnapshotWriter(path, snapshots.series(comm), comm) as writer:
        writer.append(0.0, {"u": 0})
    assert_holds(path, 3, snapshots)
    comm.Barrier()
    snapshots.write(path, comm, 1)
    assert_holds(path, 1, snapshots)
    assert not any(part.exists() for part in parts)


def test_one_file_per_step_reads_the_same(tmp_path, snapshots):
    snapshots.write(tmp_path / "run.h5", MPI.COMM_SELF, 3, layout="steps")
    snapshots.write(tmp_path / "run.h5", MPI.COMM_SELF, 5, layout="ranks", after=0.5)
    assert_holds(tmp_path / "run.h5", 5, snapshots)


@pytest.mark.parallel([1, 2])
def test_a_wrong_step_is_refused_on_every_rank_and_the_next_one_taken(comm, shared_path, snapshots, layout):
    described = snapshots.series(comm)
    index = (..., *(slice(part.start, part.stop) for part in described.geometry.block))
    good = {name: whole[index] for name, whole in snapshots.content(0).items()}
    with SnapshotWriter(shared_path / "run.h5", described, comm, layout=layout) as writer:
        for wrong, error in (
            ({"u": good["u"]}, ConfigError),
            (good | {"p": good["p"][:-1]} if comm.rank == 0 else good, ShapeError),
            (good | {"u": good["u"][0]}, ShapeError),
        ):
            with pytest.raises(error):
                writer.append(0.0, wrong)
        writer.append(0.0, good)
        for time in (0.0, math.nan):
            with pytest.raises(ConfigError, match=r"expected a time after 0\.0"):
                writer.append(time, good)
    assert_holds(shared_path / "run.h5", 1, snapshots)


def test_impossible_series_and_layouts_are_refused(tmp_path, comm):
    grid = UniformGrid.dealt((4,), (1.0,))
    bad_names = [[Field(name)] for name in ("x", "a b", "a/b", "..", "", "a\0b", "a\n")]
    bad_dims = [[Field("u", leading=((name, 2),))] for name in ("x", "a/b", ".", "", "a&b")]
    for fields in ([], [Field("u"), Field("u")], *bad_names, *bad_dims, [Field("u", "m\0")], [Field("u", "\udce4")]):
        with pytest.raises(ConfigError):
            Series(grid, fields)
    for attributes in ({"a": "b\0"}, {"a\0": "b"}, {"a": "\udce4"}):
        with pytest.raises(ConfigError, match="cannot be an attribute"):
            Series(grid, [Field("u")], attributes=attributes)
    SnapshotWriter(tmp_path / "long.h5", Series(grid, [Field("ü" * 300, "m/s²\n" * 100, (("d" * 300, 1),))]), MPI.COMM_SELF).close()
    with pytest.raises(ConfigError, match="ranks or steps"):
        SnapshotWriter(tmp_path / "run.h5", Series(grid, [Field("u")]), comm, layout="both")
    pytest.importorskip("hdf5plugin")
    with pytest.raises(ConfigError, match="written per rank"):
        SnapshotWriter(tmp_path / "run.h5", Series(grid, [Field("u")]), comm, layout="steps", compression=Compression("sz3", 1.0))


def test_another_series_and_another_job_are_refused(tmp_path, snapshots):
    path = tmp_path / "run.h5"
    snapshots.write(path, MPI.COMM_SELF, 2)
    other = Series(UniformGrid.dealt((4,), (1.0,)), [Field("u")])
    with pytest.raises(CheckpointError, match="choose another file"):
        SnapshotWriter(path, other, MPI.COMM_SELF, after=math.inf)
    with SnapshotWriter(path, snapshots.series(MPI.COMM_SELF), MPI.COMM_SELF), pytest.raises(CheckpointError, match="in use by process"):
        SnapshotWriter(path, snapshots.series(MPI.COMM_SELF), MPI.COMM_SELF)
    assert_holds(path, 2, snapshots)


@pytest.mark.parametrize(
    "options, message, layout",
    [("size=2m", "the disk is full", "ranks"), ("size=2m", "the disk is full", "steps"), ("size=2m,ro", "is read-only", "ranks")],
)
def test_a_disk_that_takes_no_more_is_one_error_and_keeps_what_it_has(options, message, layout, mpiexec, small_disk, tmp_path):
    (tmp_path / "program.py").write_text(FULL)
    ranks = 2 if layout == "ranks" or h5py.get_config().mpi else 1
    done = small_disk(f"exec {shlex.join(mpiexec.command(ranks, tmp_path / 'program.py', tmp_path / 'disk', layout))}", options)
    assert done.stdout.count(message) == ranks and "errno = " not in done.stdout, done.stdout + done.stderr
    if "ro" not in options:
        assert done.returncode == 0 and "True" in done.stdout.splitlines(), done.stdout + done.stderr
