"""Compiled kernels on disk: each built once per node however many ranks ask for it, and only what this user built is used."""

import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hpcml.core.cache_folder import cache_folder
from hpcml.core.errors import DeviceError
from hpcml.core.trusted import open_trusted


def built_once(name: str, build: Callable[[Path], None]) -> int:
    """A built file, built now if it is not in the cache.

    Parameters
    ----------
    name : str
        File name; it must change whenever the outcome would.
    build : callable
        Writes the file at the path that it is given.

    Returns
    -------
    int
        Descriptor of the file, open for reading, that nobody else could have written; the caller closes it.

    Raises
    ------
    DeviceError
        When the cache cannot be written.

    Communication
    -------------
    None through MPI. Ranks that ask for the same file at once wait for one of them by a file lock; where the file system has none, each
    builds and the last to finish wins. A file appears under its name only when it is complete.
    """
    path = cache_folder("kernels") / name
    with suppress(OSError):  # not there yet, or not to be trusted: then another takes its place
        return open_trusted(path)
    try:
        with _lock(path.with_suffix(".lock")):
            with suppress(OSError):
                return open_trusted(path)
            part = path.with_name(f"{path.stem}.{os.getpid()}.part{path.suffix}")
            try:
                build(part)
                part.chmod(0o700)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        return open_trusted(path)
    except OSError as error:
        raise DeviceError(f"cannot write the kernel cache {path.parent}: {error}; set HPCML_CACHE to another folder") from error


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Wait for the others of this user; another user who could open the file could hold it for ever."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
        os.close(descriptor)
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with suppress(OSError):  # no locks on this file system: the rename alone keeps the file whole
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
