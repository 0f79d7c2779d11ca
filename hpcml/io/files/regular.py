"""Read what may be anything. Standard library only: the keeper of checkpoints imports this file."""

import errno
import os
import stat
from pathlib import Path

from hpcml.core.errors import CheckpointError


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open a file that must be one: a pipe would be waited for, a device may act, a link may lead outside.

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
    _check(path, path.lstat())
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
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
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it is longer than the {most} bytes that it may hold", str(path))
    return data


def _check(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, f"it is a {kind_of(status.st_mode)}, not a file", str(path))


def kind_of(mode: int) -> str:
    """What something in a folder is, in words.

    Communication
    -------------
    Local.
    """
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "symbolic link", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "device")


def check_own_folder(path: Path) -> None:
    """See that something is a folder, and put where it is by who owns the folder around it, by this user or by the system.

    Raises
    ------
    CheckpointError
        Where it is something else, or of another user.
    OSError
        Where that cannot be seen.

    Communication
    -------------
    Local.
    """
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise CheckpointError(f"{shown(path)} is a {kind_of(status.st_mode)}, not a folder")
    if status.st_uid not in (os.geteuid(), path.parent.stat().st_uid, 0):
        raise CheckpointError(f"{shown(path)} belongs to user {status.st_uid}, who does not own the folder that it is in")


def shown(path: Path) -> str:
    """A path as it can be printed whatever its bytes are.

    Communication
    -------------
    Local.
    """
    return os.fsencode(path).decode(errors="backslashreplace")


def raise_if_short(error: OSError) -> None:
    """Raise an error that is not the file's: the process has too many open, or no memory. A later try may find the file whole.

    Communication
    -------------
    Local.
    """
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        raise error
