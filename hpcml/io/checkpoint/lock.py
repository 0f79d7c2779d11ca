"""One writer per run folder: the lock lives as long as a process of the job still writes."""

import errno
import fcntl
import json
import os
import socket
import time
from pathlib import Path

from hpcml.core.errors import CheckpointError

LOCK = ".lock"
DRAIN_SECONDS = 120.0
_POLL_SECONDS = 0.02


class FolderLock:
    """The exclusive right to write checkpoints into a folder.

    Parameters
    ----------
    folder : pathlib.Path
        Folder of the run; made if it is not there.
    patience : float
        Seconds to wait for a job that still runs, in case it is about to end. A job that has died may take `DRAIN_SECONDS` more to
        finish its last checkpoint.

    Raises
    ------
    CheckpointError
        Naming the job that holds the folder.
    OSError
        Where the folder cannot be made or written.

    Communication
    -------------
    Local; called on one rank.

    Notes
    -----
    The lock belongs to the open file `fd`: processes that inherit it hold it too, and it is free when the last of them ends, however it
    ends. On a file system without locks it is only written down who uses the folder.
    """

    def __init__(self, folder: Path, patience: float = 3.0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        start = time.monotonic()
        while not self._take():
            owner = self._owner()
            if time.monotonic() - start > (DRAIN_SECONDS if owner is None else patience):
                os.close(self.fd)
                who = owner or "a job that has ended and still writes its last checkpoint"
                raise CheckpointError(f"{folder} is in use by {who}: give this run a folder of its own, or end the other job first")
            time.sleep(_POLL_SECONDS)
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode(), 0)

    def close(self) -> None:
        os.close(self.fd)

    def _take(self) -> bool:
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):
                raise
        return True

    def _owner(self) -> str | None:
        """Who holds the lock; None for what is left of a dead job."""
        try:
            owner = json.loads(os.pread(self.fd, 4096, 0))
            if owner.get("draining") or (owner["host"] == socket.gethostname() and not Path(f"/proc/{owner['pid']}").exists()):
                return None
            return f"process {owner['pid']} on {owner['host']}"
        except (ValueError, KeyError):
            return "another job"
