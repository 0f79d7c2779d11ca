import resource

import h5py
import numpy as np
import pytest

from hpcml.io.dataset.stored_array import reserve
from hpcml.io.files.memory_file import MemoryFile


def fill(file):
    file.attrs["note"] = "x" * 5000
    reserve(file, "large", (3, 1 << 20))
    for number in range(50):
        reserve(file.create_group(f"{number}", track_order=False), "data", (5, 7))
        file[f"{number}"].create_dataset("axis", data=np.arange(number + 1.0), track_times=False)
    del file["7"]


def content(path):
    with h5py.File(path, "r") as file:
        found = {}
        file.visititems(lambda name, thing: found.update({name: thing[()].tobytes() if isinstance(thing, h5py.Dataset) else None}))
        return dict(file.attrs), found


def test_the_file_holds_what_hdf5_writes_itself(tmp_path):
    with h5py.File(tmp_path / "own.h5", "w") as file:
        fill(file)
    memory = MemoryFile()
    with h5py.File(memory, "w") as file:
        fill(file)
    memory.save(tmp_path / "ours.h5")
    assert content(tmp_path / "ours.h5") == content(tmp_path / "own.h5")
    assert (tmp_path / "ours.h5").stat().st_blocks * 512 < 3 << 20  # the array of 12 MiB is a hole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours.h5", "own.h5"]


def test_what_is_cut_off_is_zero_when_the_file_grows_again(tmp_path):
    memory = MemoryFile()
    memory.write(b"a" * 10000)
    memory.truncate(4100)
    memory.seek(9000)
    memory.write(b"b")
    memory.seek(0)
    expected = b"a" * 4100 + bytes(4900) + b"b"
    assert memory.read() == expected
    memory.save(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == expected


def test_a_disk_that_takes_no_more_says_so_and_keeps_what_was_there(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    memory = MemoryFile()
    memory.write(b"a" * 10000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            memory.save(tmp_path / "file")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == [tmp_path / "file"] and (tmp_path / "file").read_bytes() == b"old"
