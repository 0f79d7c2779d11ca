"""Replace a file at once. Standard library only: the keeper of checkpoints imports this file."""

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_log = logging.getLogger(__name__)
_CANNOT = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
"""What file systems over a network and in user space say to who would force a folder to the disk."""
_told = False


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Name a file beside another to write; at the end it takes that one's name, so that a reader finds the old content or the new, whole.

    After an exception the file is gone and the old content is still there.

    Communication
    -------------
    Local.
    """
    partial = path.with_name(f".{path.name}.{os.urandom(4).hex()}")  # processes on several nodes may write the same file
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        with suppress(OSError):  # what went wrong before is what is told
            partial.unlink(missing_ok=True)
        raise


def write_file(path: Path, data: bytes, *, durable: bool = True, mode: int = 0o666) -> None:
    """Write a small file, or replace it at once.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    data : bytes
        All of its content.
    durable : bool
        Whether content and name are on the disk when this returns, to outlive a power failure; otherwise they outlive the process.
    mode : int
        Who may read and write it, less what the user's mask takes away.

    Raises
    ------
    OSError
        Disk full, no permission and the like; what was there is still there.

    Communication
    -------------
    Local.
    """
    with replacing(path) as partial:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            while data:
                data = data[os.write(descriptor, data) :]
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Force a folder's names to the disk; a file system that cannot do that is told of once.

    Raises
    ------
    OSError
        Where the disk fails.

    Communication
    -------------
    Local.
    """
    global _told
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        if not _told:
            _log.warning("the file system of %s cannot force a folder to the disk: a power failure may undo the last files there", folder)
        _told = True
    finally:
        os.close(descriptor)
