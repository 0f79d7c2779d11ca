"""Follow snapshots while they are written."""

import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from hpcml.io.checkpoint.lock import LOCK
from hpcml.io.snapshot.snapshot_file import SnapshotFile, find_snapshots
from hpcml.io.snapshot.view import parts_folder


def follow(path: Path | str, poll: float = 0.5, wait: bool = True) -> Iterator[tuple[SnapshotFile, int]]:
    """Give every step as soon as it is acknowledged, until nobody writes there any more.

    Parameters
    ----------
    path : pathlib.Path or str
        A snapshot file, a folder of such files, or a run.
    poll : float
        Seconds between two looks.
    wait : bool
        Whether to wait for steps to come; otherwise only those that are there are given.

    Yields
    ------
    SnapshotFile, int
        The file as it is now, and the number of the step. A file that is written anew begins at 0 again.

    Raises
    ------
    CheckpointError
        As `SnapshotFile`.

    Communication
    -------------
    Local.

    Notes
    -----
    Before there is any file this waits for one. Whether somebody writes is seen by the lock of the writer; where the file system has no
    locks, by the mark ``complete``.
    """
    seen: dict[Path, int] = {}
    while True:
        found = find_snapshots(Path(path))
        busy = not found
        for entry in found:
            written = _is_written(entry)  # asked before reading, so that the last steps are not missed
            file = SnapshotFile(entry)
            steps = len(file.view.times)
            first = seen.get(entry, 0)
            for step in range(first if first <= steps else 0, steps):
                yield file, step
            seen[entry] = steps
            busy |= not file.view.attributes["complete"] if written is None else written
        if not (busy and wait):
            return
        time.sleep(poll)


def _is_written(path: Path) -> bool | None:
    """Whether a writer holds the lock; None if that cannot be known."""
    try:
        descriptor = os.open(parts_folder(path) / LOCK, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)
