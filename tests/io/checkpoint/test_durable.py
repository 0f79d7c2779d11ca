"""What is written is whole or not there."""

import mmap
import os
import zlib

import pytest

from hpcml.core.errors import CheckpointError
from hpcml.io.checkpoint.durable import CHUNK_BYTES, checksums, read_record, write_bytes, write_record


@pytest.fixture
def memory():
    with mmap.mmap(-1, CHUNK_BYTES + 8192) as pages:
        pages[:] = os.urandom(len(pages))
        yield pages


def test_bytes_arrive_with_standard_checksums(tmp_path, memory):
    write_bytes(tmp_path / "a", memoryview(memory))
    data = (tmp_path / "a").read_bytes()
    assert data == memory[:]
    assert checksums(memoryview(memory)) == [zlib.crc32(data[:CHUNK_BYTES]), zlib.crc32(data[CHUNK_BYTES:])]


def test_a_failed_write_leaves_what_was_there(tmp_path, memory, monkeypatch):
    (tmp_path / "a").write_text("old")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space"):
        write_bytes(tmp_path / "a", memoryview(memory))
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_text() == "old"


def test_records_tell_when_they_were_changed(tmp_path):
    path = tmp_path / "r.json"
    write_record(path, {"step": 120, "name": "ü"})
    assert read_record(path) == {"step": 120, "name": "ü"}
    whole = path.read_text()
    for broken, what in ((whole.replace("120", "121"), "own checksum"), (whole[:-3], "not a whole"), ("[]", "not a whole")):
        path.write_text(broken)
        with pytest.raises(CheckpointError, match=what):
            read_record(path)
