"""Which process it is, so that another can tell later whether it still runs. Standard library only: the keeper imports this file."""

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Process:
    """A process by everything that tells it from others, on this node and elsewhere.

    Attributes
    ----------
    host : str
        Name of the node.
    boot : str
        Identity of the node's run since it was switched on.
    namespace : int
        Numbering that ``pid`` belongs to: containers have their own.
    pid : int
        Number of the process.
    start : int
        When it started, in the node's ticks: numbers are used again.
    """

    host: str
    boot: str
    namespace: int
    pid: int
    start: int

    @classmethod
    def this(cls, pid: int | None = None) -> Self:
        """Describe this process, or another one that runs in the same place."""
        pid = os.getpid() if pid is None else pid
        return cls(*_place(), pid, _start(pid) or 0)

    @classmethod
    def of(cls, record: dict[str, Any]) -> Self:
        """The process that a record describes; what it lacks is unknown."""
        host, boot = (str(record.get(key, "")) for key in ("host", "boot"))
        return cls(host, boot, *(int(record.get(key, 0)) for key in ("namespace", "pid", "start")))

    def runs(self) -> bool | None:
        """Whether it still runs; None where that cannot be seen from here.

        Communication
        -------------
        Local.
        """
        if (self.host, self.boot, self.namespace) != _place():
            return None
        start = _start(self.pid)
        return start is not None and start == self.start


def _place() -> tuple[str, str, int]:
    """Host, boot and numbering of processes here; where the system does not tell, the host is all there is."""
    boot, namespace = "", 0
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    return socket.gethostname(), boot, namespace


def _start(pid: int) -> int | None:
    """Start of a process in ticks since the node was switched on, 0 where the system does not tell; None if it does not run."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return None if fields[0] in (b"Z", b"X") else int(fields[19])  # a zombie does nothing any more
    except (OSError, IndexError):
        if Path("/proc/self/stat").exists():
            return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return 0
