"""What a file refers to elsewhere is not followed, and nothing missing looks like data."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpcml.core.errors import CheckpointError
from hpcml.io.files.confined_file import ConfinedFile

SECRET = np.arange(6.0)


@pytest.fixture
def secret(tmp_path):
    """A file that belongs to somebody else."""
    (tmp_path / "elsewhere").mkdir()
    with h5py.File(tmp_path / "elsewhere" / "secret.h5", "w") as file:
        file["u"] = SECRET
    SECRET.tofile(tmp_path / "elsewhere" / "raw")
    return tmp_path / "elsewhere" / "secret.h5"


@pytest.fixture
def path(tmp_path):
    (tmp_path / "given").mkdir()
    return tmp_path / "given" / "file.h5"


def virtual(file, source, name="u", shape=(6,), whole=(6,), item="v"):
    layout = h5py.VirtualLayout(whole, float)
    layout[: shape[0]] = h5py.VirtualSource(str(source), name, shape)
    file.create_virtual_dataset(item, layout, fillvalue=0)


def endless(file, source):
    """As many sources as there will be, each of three values."""
    space, part = h5py.h5s.create_simple((6,), (h5py.h5s.UNLIMITED,)), h5py.h5s.create_simple((3,))
    space.select_hyperslab((0,), (h5py.h5s.UNLIMITED,), (3,), (3,))
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_virtual(space, source.encode(), b"u", part)
    h5py.h5d.create(file.id, b"v", h5py.h5t.NATIVE_DOUBLE, h5py.h5s.create_simple((6,), (h5py.h5s.UNLIMITED,)), plan)


WAYS_OUT = {
    "external link": lambda file, secret: file.__setitem__("v", h5py.ExternalLink(str(secret), "/u")),
    "external link, upwards": lambda file, secret: file.__setitem__("v", h5py.ExternalLink("../elsewhere/secret.h5", "/u")),
    "external link on the way": lambda file, secret: (
        file.__setitem__("group", h5py.ExternalLink(str(secret), "/")),
        file.__setitem__("v", h5py.SoftLink("/group/u")),
    ),
    "virtual": lambda file, secret: virtual(file, secret),
    "virtual, upwards": lambda file, secret: virtual(file, "../elsewhere/secret.h5"),
    "virtual, by an external link": lambda file, secret: (
        file.__setitem__("w", h5py.ExternalLink(str(secret), "/u")),
        virtual(file, ".", "w"),
    ),
    "virtual, twice": lambda file, secret: (virtual(file, secret, item="w"), virtual(file, ".", "w")),
    "external storage": lambda file, secret: file.create_dataset("v", (6,), float, external=[(secret.parent / "raw", 0, 48)]),
    "symbolic link": lambda file, secret: (
        Path(file.filename + ".link").symlink_to(secret),
        file.__setitem__("v", h5py.ExternalLink("file.h5.link", "/u")),
    ),
}


@pytest.mark.parametrize("way", WAYS_OUT)
def test_no_way_leads_out_of_the_folder_unless_asked(way, path, secret, monkeypatch):
    with h5py.File(path, "w") as file:
        WAYS_OUT[way](file, secret)
    with h5py.File(path) as file:
        assert np.array_equal(file["v"], SECRET)  # HDF5 itself follows it
    with ConfinedFile(path) as file, pytest.raises(CheckpointError, match="not followed|not read"):
        file["v"][:]
    with ConfinedFile(path) as file, pytest.raises(CheckpointError):
        np.asarray(file.get("v"))
    monkeypatch.setenv("HPCML_LINKED_FOLDERS", f"/nowhere:{secret.parent}")
    if way != "external storage":
        with ConfinedFile(path) as file:
            assert np.array_equal(file["v"][:], SECRET)


def test_links_and_sources_of_the_folder_are_read(path):
    (path.parent / "parts").mkdir()
    for place, name in ((path.parent / "parts", "part.h5"), (path.parent, "beside.h5")):
        with h5py.File(place / name, "w") as file:
            file["u"] = file["group/u"] = SECRET
    with h5py.File(path, "w") as file:
        file["own/u"] = SECRET
        file["soft"] = h5py.SoftLink("own/u")
        file["own/up"] = h5py.SoftLink("/soft")
        file["external"] = h5py.ExternalLink("parts/part.h5", "/group")
        virtual(file, "parts/part.h5", item="virtual")
        virtual(file, ".", "own/up", item="self")
        virtual(file, "/moved/from/beside.h5", item="moved")
    with ConfinedFile(path) as file:
        for name in ("own/u", "soft", "own/up", "external/u", "virtual", "self", "moved", "/own/./u"):
            assert name in file and np.array_equal(file[name], SECRET), name
        assert file["external"]["u"].file.filename == str(path.parent / "parts" / "part.h5")
        assert "nothing" not in file and "own/u/v" not in file and file.get("nothing", 3) == 3
        assert {type(member).__name__ for _, member in file["own"].items()} == {"ConfinedDataset"}


MISSING = {
    "missing": lambda file: virtual(file, "gone.h5"),
    "cannot be read": lambda file: virtual(file, ".", "gone"),
    "more values from": lambda file: (file.__setitem__("u", SECRET[:5]), virtual(file, ".")),
    "sources for 3 of its 6": lambda file: (file.__setitem__("u", SECRET), virtual(file, ".", shape=(3,))),
    "circle": lambda file: (virtual(file, ".", "w"), virtual(file, ".", "v", item="w")),
    "pattern": lambda file: endless(file, "part-%b.h5"),
}


@pytest.mark.parametrize("fault", MISSING)
def test_a_virtual_source_that_is_not_there_is_an_error_and_not_zeros(fault, path):
    with h5py.File(path, "w") as file:
        MISSING[fault](file)
    with ConfinedFile(path) as file, pytest.raises(CheckpointError, match=fault):
        file["v"][:]


def test_links_in_a_circle_end(path):
    with h5py.File(path, "w") as file:
        file["a"], file["b"] = h5py.SoftLink("/b"), h5py.SoftLink("a/c")
        file["x"] = h5py.ExternalLink("file.h5", "/x")
    with ConfinedFile(path) as file:
        for name in ("a", "b", "x"):
            with pytest.raises(CheckpointError, match="circle"):
                file[name]


def test_what_is_no_file_is_not_waited_for(path):
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match="no regular file"):
        ConfinedFile(path)


def test_a_file_that_is_itself_a_link_out_of_the_folder_is_refused(path, secret):
    path.symlink_to(secret)
    with ConfinedFile(path) as file:
        assert np.array_equal(file["u"], SECRET)  # the user named this very file
    with pytest.raises(CheckpointError, match="outside"):
        ConfinedFile(path, path.parent)


def test_a_file_that_is_open_for_writing_is_read_through_python(path):
    with h5py.File(path, "w") as file:
        file["u"] = SECRET
        file.flush()
        with ConfinedFile(path, private=True) as again:
            assert np.array_equal(again["u"], SECRET)
