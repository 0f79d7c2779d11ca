"""How a run stands or ended, in a file of its run directory: no job script or person depends on the launcher's exit status.

    {"state": "running" | "finished" | "stopped" | "failed", "exit_status": ..., "message": ..., "step": ..., "job": ..., ...}

Its "suspects" are nodes whose ranks hold the others up, or did not come and said nothing. What says "running" although no process of the
run is left was killed. Neither MPI nor torch is needed to read it.
"""

import json
import logging
import os
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hpcml.core.errors import HpcmlError, LostRankError
from hpcml.core.exit_status import LOST, PREEMPTED
from hpcml.core.json_text import parse_json
from hpcml.core.printable import printable
from hpcml.core.regular import open_regular, read_regular
from hpcml.io.files.batch_job import BatchJob
from hpcml.io.files.lock import holder
from hpcml.io.files.replace import write_file

_log = logging.getLogger(__name__)
STATUS = "status.json"
_BYTES = 1024
"""Length of the file, so that a full disk has room for what is said last."""
_MOST_BYTES = 1 << 20


class RunStatus:
    """Says in the run directory how a run stands, and how it ended when the block ends.

    Parameters
    ----------
    folder : Path
        Run directory.
    rank, size : int
        Of this process. Rank 0 writes; a rank that fails alone, which ends the job, writes that.
    hosts : mapping of int to str
        Names of nodes, see `hpcml.mpi.World`.

    Communication
    -------------
    Local.
    """

    def __init__(self, folder: Path, rank: int, size: int, hosts: Mapping[int, str] | None = None) -> None:
        self._path, self._rank, self._size, self._hosts = folder / STATUS, rank, size, hosts or {}
        self._since, self._ended, self._note, self._suspects = _now(), False, "", ""

    def finished(self, step: int) -> None:
        """The run came to its end."""
        self._write("finished", 0, "", step)
        self._ended = True

    def stopped(self, step: int | None = None) -> None:
        """The run stopped because it was asked to, and goes on when it is started again."""
        self._write("stopped", PREEMPTED, "as asked; the same command goes on from there", step)
        self._ended = True

    def note(self, line: str, nodes: Sequence[str] = ()) -> None:
        """Say what holds a run up that goes on, and the nodes that do, or that nothing does any more."""
        self._note, self._suspects = line, " ".join(nodes)
        self._write("running")

    def __enter__(self) -> Self:
        self._write("running")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None or self._ended:
            return
        lost = isinstance(error, LostRankError)
        agreed = isinstance(error, HpcmlError) and not lost
        status = LOST if lost else 2 if agreed else 130 if isinstance(error, KeyboardInterrupt) else 1
        text = str(error) if agreed else f"rank {self._rank}: {type(error).__name__}: {error}"
        silent = error.silent if isinstance(error, LostRankError) else ()
        if nodes := dict.fromkeys(self._hosts[rank] for rank in silent if rank in self._hosts):
            self._suspects = " ".join(nodes)
            text += f". Who does not come and says nothing is on {', '.join(nodes)}"
        self._write("failed", status, text, alone=not agreed)

    def _write(self, state: str, exit_status: int | None = None, message: str = "", step: int | None = None, alone: bool = False) -> None:
        if self._rank and not alone:
            return
        job = BatchJob.this()
        record: dict[str, Any] = {"state": state, "exit_status": exit_status, "step": step, "ranks": self._size}
        record |= {"since": self._since, "time": _now(), "host": socket.gethostname(), "process": os.getpid()}
        record |= {"job": job.id, "restart": job.restart, "suspects": self._suspects, "message": message, "note": self._note}
        content = json.dumps(record).encode().ljust(_BYTES)[:-1] + b"\n"
        try:
            write_file(self._path, content)
        except OSError as error:
            with (
                suppress(OSError),
                os.fdopen(open_regular(self._path, os.O_RDWR), "r+b", buffering=0) as file,
            ):  # in place, where no room is needed
                file.write(content)
                file.truncate()
                return
            _log.warning("%s cannot be written: %s", self._path, error.strerror)


def read_status(folder: Path) -> dict[str, Any] | None:
    """What a run directory says of its run; None where it says nothing.

    The ``state`` is ``"killed"`` where a run did not come to say how it ended.

    Communication
    -------------
    Local.
    """
    try:
        record: dict[str, Any] = parse_json(read_regular(folder / STATUS, _MOST_BYTES))
        state = record["state"]
        if not isinstance(state, str):
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if state == "running":
        found = holder(folder / "checkpoints")
        if found is None or found[1].gone:
            record |= {"state": "killed", "message": "it did not come to say why; the same command goes on after the last checkpoint"}
        else:
            record["message"] = f"{found[0]}{found[1].why}"
    return record


def describe_status(record: dict[str, Any]) -> str:
    """One line for people."""
    step = "" if record.get("step") is None else f" after step {record['step']}"
    job = f" in job {record['job']}" if record.get("job") else ""
    where = f"on {record.get('ranks')} ranks{job}, started {record.get('since')} on {record.get('host')}"
    last = "" if record["state"] in ("running", "killed") else f", {record.get('time')}"
    said = "".join(f": {record[key]}" for key in ("message", "note") if record.get(key))
    return printable(f"run {record['state']}{step}{last}, {where}{said}")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
