"""Who uses a folder, as written in a file there. Standard library only: the keeper of checkpoints imports this file."""

import json
import os
import stat
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from hpcml.core.json_text import parse_json
from hpcml.io.files.batch_job import BatchJob
from hpcml.io.files.process import Process
from hpcml.mpi.launcher import detect

_MOST_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that uses a folder.

    Attributes
    ----------
    token : str
        Tells this use of the folder from any other.
    process : Process
        Who.
    job : BatchJob
        In which job.
    launcher : Process or None
        Who started it, if that was a launcher of MPI: without it the process is an orphan.
    left : bool
        Whether the process has left the folder to its heir, which brings the last checkpoint to disk.
    """

    token: str
    process: Process
    job: BatchJob = field(default_factory=BatchJob)
    launcher: Process | None = None
    left: bool = False

    @classmethod
    def this(cls, token: str | None = None) -> Self:
        """Describe this process."""
        launcher = Process.this(os.getppid()) if detect().launcher != "none" else None
        return cls(os.urandom(8).hex() if token is None else token, Process.this(), BatchJob.this(), launcher)

    @property
    def orphan(self) -> bool:
        """Whether it still runs although its launcher is gone."""
        return self.launcher is not None and self.launcher.runs() is False

    def encode(self) -> bytes:
        """The record of it."""
        job = {"job": self.job.id, "restart": self.job.restart, "cluster": self.job.cluster}
        launcher = None if self.launcher is None else asdict(self.launcher)
        rest = {"launcher": launcher, "left": self.left, "since": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        return json.dumps({"token": self.token, **asdict(self.process), **job, **rest}).encode()

    def __str__(self) -> str:
        if not self.process.pid:
            return "somebody whose name cannot be read"
        return f"process {self.process.pid} on {self.process.host}" + (f" of job {self.job.id}" if self.job.id else "")


def read_owner(path: Path) -> tuple[Owner, float] | None:
    """Who the file names, and when the file was touched last, by the file system's clock; None where there is no file.

    What is no record of an owner, be it half written or in the way, is an owner without a name.

    Communication
    -------------
    Local.
    """
    try:
        # Opened anew each time: over a network that asks the server. A pipe or a link in its place is not followed or waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError:
        with suppress(OSError):
            return Owner("unreadable", Process.of({})), path.lstat().st_mtime
        return None
    try:
        found = os.fstat(descriptor)
        text = os.read(descriptor, _MOST_BYTES) if stat.S_ISREG(found.st_mode) else b""
    finally:
        os.close(descriptor)
    return _decode(text), found.st_mtime


def _decode(text: bytes) -> Owner:
    try:
        record: dict[str, Any] = parse_json(text)
        launcher = Process.of(record["launcher"]) if record.get("launcher") else None
        shown = "".join(str(record.get(key, "")) for key in ("host", "job"))
        if not str(record["token"]).isalnum() or not shown.isprintable():  # they become part of a file's name and of messages
            raise ValueError
        return Owner(str(record["token"]), Process.of(record), BatchJob.of(record), launcher, bool(record.get("left")))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return Owner("unreadable", Process.of({}))
