"""Large buffers to the disk, past the page cache where the file system can. Standard library only: the keeper imports this file."""

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from hpcml.io.files.replace import replacing

_WRITE_BYTES = 16 << 20


def write_by_parts(path: Path, memory: memoryview) -> Iterator[None]:
    """Write a page-aligned buffer whose length is a multiple of 4096, durably, past the page cache where the file system can.

    Yields
    ------
    None
        Between parts: whoever iterates does the writing, on any thread.

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
            _reserve(descriptor, len(memory))
            yield from pour(descriptor, memory, direct)
        finally:
            os.close(descriptor)


def _reserve(descriptor: int, length: int) -> None:
    """Ask the disk for room. Where the file system cannot be asked, the C library writes single bytes instead, which `O_DIRECT` forbids."""
    try:
        os.posix_fallocate(descriptor, 0, length)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise


def open_direct(path: Path, flags: int) -> tuple[int, bool]:
    """Open a file past the page cache where the file system can; return the descriptor and whether it could."""
    try:
        return os.open(path, flags | os.O_DIRECT, 0o644), True
    except OSError:
        return os.open(path, flags, 0o644), False


def pour(descriptor: int, memory: memoryview, direct: bool) -> Iterator[None]:
    """Write a buffer from the beginning of an open file on, and force it to the disk; yields between parts."""
    done = 0
    while done < len(memory):
        try:
            done += os.pwrite(descriptor, memory[done : done + _WRITE_BYTES], done)
        except OSError:
            if not direct:
                raise
            direct = False
            _drop_direct(descriptor)
        yield
    os.fdatasync(descriptor)


def _drop_direct(descriptor: int) -> None:
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~os.O_DIRECT)
