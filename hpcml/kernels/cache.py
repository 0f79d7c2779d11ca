"""Compiled kernels on disk: each built once per node however many ranks ask for it."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hpcml.core.cache_folder import cache_folder
from hpcml.core.errors import DeviceError


def built_once(name: str, build: Callable[[Path], None]) -> Path:
    """Path of a built file, built now if it is not in the cache.

    Parameters
    ----------
    name : str
        File name; it must change whenever the outcome would.
    build : callable
        Writes the file at the path that it is given.

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
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise DeviceError(f"cannot make the kernel cache {path.parent}: {error.strerror}; set HPCML_CACHE to a writable folder") from error
    if path.parent.stat().st_uid != os.getuid():
        raise DeviceError(f"the kernel cache {path.parent} is another user's: set HPCML_CACHE to a folder of your own")
    with _lock(path.with_suffix(".lock")):
        if not path.exists():
            part = path.with_name(f"{path.stem}.{os.getpid()}.part{path.suffix}")
            try:
                build(part)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
    return path


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        with suppress(OSError):  # no locks on this file system: the rename alone keeps the file whole
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
