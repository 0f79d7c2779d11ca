"""Checksums to tell by whether bytes are as they were written. No MPI, torch or NumPy: the keeper of checkpoints imports this file."""

import fcntl
import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from hpcml.io.files.direct import open_direct

try:
    from isal.isal_zlib import crc32 as _crc32
except ImportError:  # the same checksum, five times slower
    from zlib import crc32 as _crc32

CHUNK_BYTES = 4 << 20
"""Bytes under one checksum."""


def crc32(data: bytes | memoryview) -> int:
    """CRC-32 (ISO 3309) of some bytes."""
    return _crc32(data)


def each_checksum(memory: memoryview) -> Iterator[int]:
    """CRC-32 of each `CHUNK_BYTES` of a buffer.

    Communication
    -------------
    Local.
    """
    return (crc32(memory[start : start + CHUNK_BYTES]) for start in range(0, len(memory), CHUNK_BYTES))


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
    descriptor, _ = open_direct(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
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
