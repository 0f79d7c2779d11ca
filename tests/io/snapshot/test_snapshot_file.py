"""Reading gives what was written or an error that names the file; never zeros, never NaN, never a part."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpi4py import MPI

from hpcml.core.errors import CheckpointError, ConfigError
from hpcml.io import SnapshotFile, find_snapshots
from hpcml.io.files.confined_file import ConfinedFile
from hpcml.io.snapshot.series import FORMAT_VERSION


@pytest.fixture
def path(tmp_path, snapshots):
    snapshots.write(tmp_path / "run.h5", MPI.COMM_SELF, 4)
    return tmp_path / "run.h5"


@pytest.fixture(scope="module")
def parts(tmp_path_factory, snapshots):
    """Steps in several files: each start of a writer makes new ones."""
    path = tmp_path_factory.mktemp("parts") / "run.h5"
    for steps, after, layout in ((2, -np.inf, "ranks"), (3, np.inf, "steps"), (6, np.inf, "ranks")):
        snapshots.write(path, MPI.COMM_SELF, steps, after=after, layout=layout)
    return SnapshotFile(path), np.stack([snapshots.in_files(step)["u"] for step in range(6)])


def indices(size):
    bound = st.none() | st.integers(-size - 1, size + 1)
    return st.integers(-size, size - 1) | st.builds(slice, bound, bound, st.none() | st.integers(1, 3))


@given(index=st.tuples(*map(indices, (6, 2, 9, 6))), length=st.integers(0, 4))
def test_any_part_is_what_numpy_selects(index, length, parts):
    file, whole = parts
    assert np.array_equal(file.read("u", index[:length]), whole[index[:length]])


def test_blocks_make_up_a_step(path, snapshots):
    assert sum(block.sum() for block in SnapshotFile(path).blocks("p", 2)) == snapshots.content(2)["p"].sum()


def test_a_file_that_grows_while_it_is_opened_is_opened_again(path, snapshots, monkeypatch):
    file, fails, opened = SnapshotFile(path), iter([True] * 2), ConfinedFile

    def grows(*words, **options):
        if next(fails, False):
            raise OSError("truncated file")
        return opened(*words, **options)

    monkeypatch.setattr("hpcml.io.snapshot.snapshot_file.ConfinedFile", grows)
    assert np.array_equal(file.read("p", (2,)), snapshots.in_files(2)["p"]) and next(fails, None) is None


def test_a_missing_file_is_named(path):
    (part,) = path.with_suffix(".parts").glob("*.h5")
    part.unlink()
    with pytest.raises(CheckpointError, match=f"{part.name} is missing"):
        SnapshotFile(path).read("p")


def test_parts_that_lead_elsewhere_or_are_no_files_are_refused(path, tmp_path):
    file, part = SnapshotFile(path), next((tmp_path / "run.parts").glob("*.h5"))
    outside = tmp_path.parent / "outside.h5"
    part.replace(outside)
    part.symlink_to(outside)
    with pytest.raises(CheckpointError, match="is a link to .*outside.h5, outside .*: it is not followed"):
        file.read("p")
    part.unlink()
    os.mkfifo(part)
    with pytest.raises(CheckpointError, match="no regular file"):
        file.read("p")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match="no regular file"):
        SnapshotFile(path)


@pytest.mark.parametrize("name, make, message", [
    ("time", lambda file: file.__setitem__("time", np.zeros(2)), "2 times, and fields of another number|damaged"),
    ("p", lambda file: file.__setitem__("p", np.zeros(3)), "damaged"),
    ("p", lambda file: file.create_group("p"), "expected an array of numbers at p, got a group"),
    ("p", lambda file: file.create_dataset("p", (4, 9, 6), h5py.vlen_dtype("f4")), "at p, got elements of object"),
    ("p", lambda file: file.create_dataset("p", data=h5py.Empty("f4")), "at p, got nothing"),
    ("p", lambda file: file.create_virtual_dataset("p", h5py.VirtualLayout((4,), "f8")), "damaged"),
])  # fmt: skip
def test_a_view_of_something_else_is_refused_by_name(name, make, message, path):
    with h5py.File(path, "r+") as file:
        attributes = dict(file[name].attrs)
        del file[name]
        make(file)
        file[name].attrs.update({key: value for key, value in attributes.items() if key in ("CLASS", "NAME", "units", "DIMENSION_LABELS")})
    with pytest.raises(CheckpointError, match=message):
        SnapshotFile(path)


def test_a_file_that_is_cut_off_is_named(path):
    (part,) = path.with_suffix(".parts").glob("*.h5")
    size = part.stat().st_size
    for left in (size - 1, size // 2, 60, 20, 0):
        part.write_bytes(part.read_bytes()[:left])
        with pytest.raises(CheckpointError, match=rf"{part.name} (is truncated: expected {size} bytes, got {left}|is no snapshot file)"):
            SnapshotFile(path).read("p")


def test_flipped_bits_are_noticed(path, snapshots):
    (part,) = path.with_suffix(".parts").glob("*.h5")
    whole = bytearray(part.read_bytes())
    for place in (whole.index(snapshots.in_files(2)["p"].tobytes()) + 5, 30):  # a value; the superblock
        damaged = whole.copy()
        damaged[place] ^= 4
        part.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=f"{part.name} .*damaged"):
            SnapshotFile(path).read("p")


def test_a_source_that_holds_less_than_the_view_says_is_named(path, snapshots, tmp_path):
    (part,) = path.with_suffix(".parts").glob("*.h5")
    snapshots.write(tmp_path / "other.h5", MPI.COMM_SELF, 3)
    (shorter,) = (tmp_path / "other.parts").glob("*.h5")
    part.write_bytes(shorter.read_bytes())
    with pytest.raises(CheckpointError, match=r"expected \(4, 9, 6\) values of p"):
        SnapshotFile(path).read("p")


def test_a_view_that_is_damaged_foreign_or_newer_is_refused(path, tmp_path):
    whole = path.read_bytes()
    for text in (whole[: len(whole) // 2], b"text", b""):
        path.write_bytes(text)
        with pytest.raises(CheckpointError, match="cannot be read"):
            SnapshotFile(path)
    path.write_bytes(whole)
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = FORMAT_VERSION + 1
    with pytest.raises(CheckpointError, match=f"format version {FORMAT_VERSION + 1}, expected at most {FORMAT_VERSION}"):
        SnapshotFile(path)
    with h5py.File(path, "w") as file:
        file["u"] = 1
    with pytest.raises(CheckpointError, match="no snapshots of hpcml"):
        SnapshotFile(path)


def test_files_are_found_by_their_folder_or_run(path, snapshots, tmp_path):
    (tmp_path / "notes.h5").write_bytes(path.read_bytes())  # no folder of parts beside it
    assert find_snapshots(tmp_path) == [path] and SnapshotFile(tmp_path).view.path == path
    (tmp_path / "run" / "snapshots").mkdir(parents=True)
    for missing in (tmp_path / "run", tmp_path / "none.h5"):
        with pytest.raises(CheckpointError, match="there are no snapshots at"):
            SnapshotFile(missing)
    for name in ("a", "b"):
        snapshots.write(tmp_path / "run" / "snapshots" / f"{name}.h5", MPI.COMM_SELF, 1)
    with pytest.raises(CheckpointError, match=r"name one of .*a\.h5, .*b\.h5"):
        SnapshotFile(tmp_path / "run")


def test_an_unknown_field_lists_the_known_ones(path):
    with pytest.raises(ConfigError, match=r"no field 'q': it has p, u"):
        SnapshotFile(path).read("q")


@pytest.mark.parametrize("version", [1])
def test_every_version_ever_written_is_read(version, snapshots):
    """Six steps by three sessions, of one file per rank, one per step, and one per rank again."""
    file = SnapshotFile(Path(__file__).parent / "data" / f"format-{version}")
    assert file.view.times.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5] and file.view.attributes["equation"] == "heat"
    assert file.view.variables["u"].units == "m/s" and file.view.coordinates["x"][1] == "m"
    for step in range(6):
        for name, whole in snapshots.in_files(step).items():
            assert np.array_equal(file.read(name, (step,)), whole)
