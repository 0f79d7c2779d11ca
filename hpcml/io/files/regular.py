"""What lies in a folder that others may write to. Standard library only: the keeper of checkpoints imports this file."""

import errno
import os
import stat
from pathlib import Path

from hpcml.core.errors import CheckpointError
from hpcml.core.printable import printable
from hpcml.core.regular import kind_of


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
    return printable(os.fsencode(path).decode(errors="backslashreplace"))


def raise_if_short(error: OSError) -> None:
    """Raise an error that is not the file's: the process has too many open, or no memory. A later try may find the file whole.

    Communication
    -------------
    Local.
    """
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        raise error
