"""A file is written anew only when no checkpoint and no reader has it any more."""

import fcntl
import mmap

import pytest

from hpcml.io.checkpoint.keeper.spare import Spares
from hpcml.io.checkpoint.stored.catalog import SPARE

PAGE = 4096


@pytest.fixture
def write(tmp_path):
    spares = Spares(tmp_path, "abc123", 3)

    def write(name, byte, pages=1):
        with mmap.mmap(-1, pages * PAGE) as memory:
            memory[:] = bytes([byte]) * len(memory)
            list(spares.write(tmp_path / name, memoryview(memory)))
        return (tmp_path / name).stat().st_ino

    return write


def test_a_file_without_a_checkpoint_is_used_again(tmp_path, write):
    first, second = write("a", 1), write("b", 2)
    (tmp_path / "a").unlink()
    assert write("c", 3) == first != second and len(list(tmp_path.glob(f"{SPARE}*"))) == 2
    assert (tmp_path / "b").read_bytes() == b"\2" * PAGE and (tmp_path / "c").read_bytes() == b"\3" * PAGE
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(SPARE)) == ["b", "c"]


def test_a_file_that_is_read_stays_as_it_is(tmp_path, write):
    write("a", 1)
    with (tmp_path / "a").open("rb") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        (tmp_path / "a").unlink()
        write("b", 2)
        assert reader.read() == b"\1" * PAGE and (tmp_path / "b").read_bytes() == b"\2" * PAGE


def test_a_file_of_another_length_is_not_kept(tmp_path, write):
    write("a", 1)
    (tmp_path / "a").unlink()
    write("b", 2, pages=2)
    assert [path.stat().st_size for path in tmp_path.glob(f"{SPARE}*")] == [2 * PAGE]


def test_what_is_there_is_replaced_in_one_step(tmp_path, write):
    write("a", 1)
    write("b", 2)
    (tmp_path / "a").unlink()
    write("b", 3)
    assert (tmp_path / "b").read_bytes() == b"\3" * PAGE and not list(tmp_path.glob(".b.*"))


def test_the_second_names_can_be_removed(tmp_path, write):
    write("a", 1)
    Spares(tmp_path, "abc123", 4).remove()
    assert len(list(tmp_path.glob(f"{SPARE}*"))) == 1
    Spares(tmp_path, "abc123", 3).remove()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_without_second_names_every_file_is_new(tmp_path, write, monkeypatch):
    import os

    def refuse(*args):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert write("a", 1) and (tmp_path / "a").read_bytes() == b"\1" * PAGE
