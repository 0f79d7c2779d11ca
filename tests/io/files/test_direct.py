"""Large buffers arrive as they are, or not at all."""

import mmap
import os
import zlib

import pytest

from hpcml.io.files.checksum import CHUNK_BYTES, each_checksum
from hpcml.io.files.direct import write_by_parts


@pytest.fixture
def memory():
    with mmap.mmap(-1, CHUNK_BYTES + 8192) as pages:
        pages[:] = os.urandom(len(pages))
        yield pages


def test_bytes_arrive_with_standard_checksums(tmp_path, memory):
    list(write_by_parts(tmp_path / "a", memoryview(memory)))
    data = (tmp_path / "a").read_bytes()
    assert data == memory[:]
    assert list(each_checksum(memoryview(memory))) == [zlib.crc32(data[:CHUNK_BYTES]), zlib.crc32(data[CHUNK_BYTES:])]


def test_a_failed_write_leaves_what_was_there(tmp_path, memory, monkeypatch):
    (tmp_path / "a").write_text("old")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space"):
        list(write_by_parts(tmp_path / "a", memoryview(memory)))
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_text() == "old"


def test_a_file_system_that_cannot_be_asked_for_room_is_written_to_all_the_same(tmp_path, memory, monkeypatch):
    """The C library then writes single bytes, which a file that passes by the cache refuses."""

    def emulated(descriptor, offset, length):
        os.pwrite(descriptor, b"", 0)
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "posix_fallocate", emulated)
    list(write_by_parts(tmp_path / "a", memoryview(memory)))
    assert (tmp_path / "a").read_bytes() == memory[:]
