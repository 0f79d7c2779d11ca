"""Files of removed checkpoints, written anew: the disk then has no blocks to find and none to discard.

    RUN/step-.../rank-00003.h5    and    RUN/.spare-9f3a1c-3-0     two names of one file; once only the second is left, it is free

Standard library only: the keeper process imports this file.
"""

import fcntl
import os
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

from hpcml.io.checkpoint.stored.catalog import SPARE
from hpcml.io.files.direct import open_direct, pour, write_by_parts
from hpcml.io.files.replace import replacing, sync_folder


class Spares:
    """The files that one rank has written in one run.

    Parameters
    ----------
    folder : pathlib.Path
        Of the run.
    session : str
        Of the run.
    rank : int
        Whose files.

    Communication
    -------------
    Local.

    Notes
    -----
    A reader that has locked a file for sharing, as HDF5 does, keeps it from being written anew. Where the file system has no second
    names or no locks, every file is a new one.
    """

    def __init__(self, folder: Path, session: str, rank: int) -> None:
        self._folder, self._prefix = folder, f"{SPARE}{session}-{rank}-"

    def write(self, path: Path, memory: memoryview) -> Iterator[None]:
        """Write a buffer as `write_by_parts` does, into a spare file if there is one."""
        for spare in self._all():
            status = spare.lstat()
            if status.st_nlink > 1:
                continue
            if status.st_size == len(memory) and (yield from _write_anew(spare, path, memory)):
                return
            spare.unlink()
        yield from write_by_parts(path, memory)
        names = {spare.name for spare in self._all()}
        with suppress(OSError):
            os.link(path, self._folder / next(name for name in (f"{self._prefix}{n}" for n in range(len(names) + 1)) if name not in names))

    def remove(self) -> None:
        """Remove the second names, and with them the files that have no other."""
        for spare in self._all():
            with suppress(OSError):  # what cannot be removed harms nobody
                spare.unlink()

    def _all(self) -> list[Path]:
        return sorted(path for path in self._folder.glob(f"{self._prefix}*") if path.is_file() and not path.is_symlink())


def _write_anew(spare: Path, path: Path, memory: memoryview) -> Generator[None, None, bool]:
    """Write into a file that has no other name, and give it one; False where someone still reads it."""
    descriptor, direct = open_direct(spare, os.O_RDWR | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        sync_folder(spare.parent)  # after a power failure too, the checkpoint that it belonged to must be gone
        yield from pour(descriptor, memory, direct)
    finally:
        os.close(descriptor)
    with replacing(path) as partial:
        partial.unlink(missing_ok=True)
        os.link(spare, partial)
    return True
