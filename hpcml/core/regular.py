"""Read what may be anything. Standard library only: login nodes and the keeper of checkpoints import this file."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path


def open_regular(path: Path, flags: int = os.O_RDONLY, mode: int = 0o666) -> int:
    """Open a file that must be one: a pipe would be waited for, a device may act, a link may lead outside.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    flags : int
        Those of `os.open`; with ``O_CREAT`` it is made where there is nothing.
    mode : int
        Who may read and write what is made, less what the user's mask takes away.

    Raises
    ------
    FileNotFoundError
        Where there is nothing.
    OSError
        Where something else is there, or it cannot be opened.

    Communication
    -------------
    Local.
    """
    with suppress(*([FileNotFoundError] if flags & os.O_CREAT else [])):
        _check(path, path.lstat())
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    try:
        _check(path, os.fstat(descriptor))  # it may have been exchanged in between
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_regular(path: Path, most: int) -> bytes:
    """Read a file that must be one and hold no more than `most` bytes.

    Raises
    ------
    FileNotFoundError
        Where there is nothing.
    OSError
        Where something else is there, it is longer, or it cannot be read.

    Communication
    -------------
    Local.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        data = None if os.fstat(file.fileno()).st_size > most else file.read(most + 1)  # it may still grow
    if data is None or len(data) > most:
        raise OSError(errno.EINVAL, f"it is longer than the {most} bytes that it may hold: move it away", str(path))
    return data


def read_named(path: Path, most: int) -> bytes:
    """Read a text that the user named on the command line: it may be a link, or the pipe of a shell's ``<(command)``.

    Raises
    ------
    OSError
        Where it is another pipe, which may never be written to, is longer than `most` bytes, or cannot be read.

    Communication
    -------------
    Local.
    """
    if path.is_fifo() and path.parts[:2] not in (("/", "dev"), ("/", "proc")):
        raise OSError(errno.EINVAL, "it is a pipe, which may never be written to: name a file", str(path))
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EINVAL, f"expected a text file of at most {most >> 20} MiB", str(path))
    return data


def _check(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, f"it is a {kind_of(status.st_mode)}, not a file: move it away", str(path))


def kind_of(mode: int) -> str:
    """What something in a folder is, in words.

    Communication
    -------------
    Local.
    """
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "symbolic link", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "device")
