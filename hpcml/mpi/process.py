"""Whether another rank on this machine still lives."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Process:
    """A process that can be recognised from another one of the same machine.

    Attributes
    ----------
    boot : str
        Identity of the running system; empty where it has none.
    pid : int
        Number of the process, which may be used again after it has ended.
    start : str
        When it started, in ticks since the system did: with ``pid`` it names one process.
    """

    boot: str
    pid: int
    start: str

    @classmethod
    def own(cls) -> Self:
        """Mark of the process that asks."""
        boot = BOOT_ID.read_text().strip() if BOOT_ID.exists() else ""
        return cls(boot, os.getpid(), _start(os.getpid()))

    @property
    def is_visible(self) -> bool:
        """Whether this process can see whether that one lives: same system, same numbering of processes (containers may differ)."""
        return bool(self.start) and self.boot == Process.own().boot and self.is_alive

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return _start(self.pid) == self.start

    @property
    def is_stopped(self) -> bool:
        """Whether a signal has stopped it, as SIGSTOP does."""
        state, start = _state(self.pid)
        return state == "T" and start == self.start


def _start(pid: int) -> str:
    """When a process started; empty when there is none, or none that still runs."""
    state, start = _state(pid)
    return "" if state in "ZX" else start


def _state(pid: int) -> tuple[str, str]:
    """Letter of what a process does and when it started; ``X``, as of the dead, where there is none."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return "X", ""
    return state, fields[18]
