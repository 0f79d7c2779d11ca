"""Bytes that survive: written under a temporary name, forced to the disk, then renamed, with checksums to tell them by.

Standard library only: the keeper process imports this file and must start at once and stay small.
"""

import errno
import fcntl
import json
import mmap
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from hpcml.core.errors import CheckpointError
from hpcml.io.replacing import replacing

try:
    from isal.isal_zlib import crc32 as _crc32
except ImportError:  # the same checksum, five times slower
    from zlib import crc32 as _crc32

CHUNK_BYTES = 4 << 20
"""Bytes under one checksum."""
_WRITE_BYTES = 16 << 20


def crc32(data: bytes | memoryview) -> int:
    """CRC-32 (ISO 3309) of some bytes."""
    return _crc32(data)


def checksums(memory: memoryview) -> list[int]:
    """CRC-32 of each `CHUNK_BYTES` of a buffer.

    Communication
    -------------
    Local.
    """
    return [crc32(memory[start : start + CHUNK_BYTES]) for start in range(0, len(memory), CHUNK_BYTES)]


def write_bytes(path: Path, memory: memoryview) -> None:
    """Write a page-aligned buffer whose length is a multiple of 4096, durably, past the page cache where the file system can.

    Raises
    ------
    OSError
        Disk full, no permission and the like; nothing then exists under `path` that was not there before.

    Communication
    -------------
    Local.
    """
    with replacing(path) as partial:
        descriptor, direct = open_direct(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            os.posix_fallocate(descriptor, 0, len(memory))
            pour(descriptor, memory, direct)
        finally:
            os.close(descriptor)


def open_direct(path: Path, flags: int) -> tuple[int, bool]:
    """Open a file past the page cache where the file system can; return the descriptor and whether it could."""
    try:
        return os.open(path, flags | os.O_DIRECT, 0o644), True
    except OSError:
        return os.open(path, flags, 0o644), False


def pour(descriptor: int, memory: memoryview, direct: bool) -> None:
    """Write a buffer from the beginning of an open file on, and force it to the disk."""
    done = 0
    while done < len(memory):
        try:
            done += os.pwrite(descriptor, memory[done : done + _WRITE_BYTES], done)
        except OSError:
            if not direct:
                raise
            direct = False
            _drop_direct(descriptor)
    os.fdatasync(descriptor)


def file_checksums(path: Path, chunk_bytes: int, chunks: Iterable[int]) -> Iterator[tuple[int, int]]:
    """CRC-32 of chunks of a file, read from the disk itself where the file system can and not from what memory still holds of it.

    Yields
    ------
    int, int
        Number of the chunk and its checksum.

    Communication
    -------------
    Local.
    """
    descriptor, _ = open_direct(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # where there are locks, they keep the file from being written anew while it is read
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        with mmap.mmap(-1, chunk_bytes) as buffer, memoryview(buffer) as room:
            for index in chunks:
                length = os.preadv(descriptor, [room], index * chunk_bytes)
                with room[:length] as data:
                    checksum = crc32(data)
                yield index, checksum
    finally:
        os.close(descriptor)


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a small JSON record with its own checksum, durably: after this returns it is there whole, before it is not there.

    Communication
    -------------
    Local.
    """
    body = json.dumps(record, sort_keys=True)
    write_small(path, json.dumps({"crc32": zlib.crc32(body.encode()), "record": record}, sort_keys=True).encode())


def write_small(path: Path, data: bytes) -> None:
    """Write a small file of any length durably, its name included.

    Communication
    -------------
    Local.
    """
    with replacing(path) as partial, partial.open("wb", buffering=0) as file:
        while data:
            data = data[file.write(data) :]
        os.fsync(file.fileno())
    sync_folder(path.parent)


def remedy(number: int | None) -> str:
    """What to do about an error of the operating system, to end its message with."""
    return {
        errno.ENOSPC: "; the disk is full: free some space, or keep fewer checkpoints",
        errno.EDQUOT: "; the quota is used up: free some space, or keep fewer checkpoints",
        errno.EROFS: "; the file system is read-only: choose another folder",
        errno.EACCES: "; choose a folder that this user may write to",
        errno.EPERM: "; choose a folder that this user may write to",
    }.get(number or 0, "")


def read_record(path: Path) -> dict[str, Any]:
    """Read what `write_record` wrote.

    Raises
    ------
    CheckpointError
        Where the file is not whole.
    FileNotFoundError
        Where there is none.

    Communication
    -------------
    Local.
    """
    try:
        document = json.loads(path.read_bytes())
        record = document["record"]
        intact = document["crc32"] == zlib.crc32(json.dumps(record, sort_keys=True).encode())
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is not a whole record: {error}") from error
    if not intact:
        raise CheckpointError(f"{path} does not match its own checksum: it was changed after it was written")
    return record


def sync_folder(folder: Path) -> None:
    """Force a folder's names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _drop_direct(descriptor: int) -> None:
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~os.O_DIRECT)
