"""Follow snapshots while they are written."""

import time
from collections.abc import Iterator
from pathlib import Path

from hpcml.io.snapshot.snapshot_file import SnapshotFile, find_snapshots, is_written


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
    Before there is any file this waits for one. Whether somebody writes is seen by the file that names the writer.
    """
    seen: dict[Path, int] = {}
    while True:
        found = find_snapshots(Path(path))
        busy = not found
        for entry in found:
            written = is_written(entry)  # asked before reading, so that the last steps are not missed
            file = SnapshotFile(entry)
            steps = len(file.view.times)
            first = seen.get(entry, 0)
            for step in range(first if first <= steps else 0, steps):
                yield file, step
            seen[entry] = steps
            busy |= written
        if not (busy and wait):
            return
        time.sleep(poll)
