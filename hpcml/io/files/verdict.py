"""Whether the owner of a folder is gone, and how sure that is. Standard library only: the keeper of checkpoints imports this file."""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hpcml.io.files.owner import Owner, read_owner

BEAT_SECONDS = 5.0
GONE_SECONDS = 60.0
WATCH_SECONDS = 11.0
"""How long a file that seems to be left alone is watched, in case the clocks of two nodes differ: two beats and some."""
_ASK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of an owner.

    Attributes
    ----------
    gone : bool
        Whether it can write nothing any more.
    why : str
        How that is known, or what is, to follow its name.
    unsure : str
        What could not be made sure of although it counts as gone; empty if nothing.
    draining : bool
        Whether its last checkpoint is still brought to disk by its heir.
    watching : bool
        Whether more is known in some seconds.
    """

    gone: bool
    why: str
    unsure: str = ""
    draining: bool = False
    watching: bool = False


class Judge:
    """Judges one owner after the other, and remembers what it has seen of each.

    Parameters
    ----------
    heir : pathlib.Path
        File that names who brings the last checkpoint to disk.
    probes : bool
        Whether it may write a file to know the file system's clock; otherwise this node's clock counts.

    Communication
    -------------
    Local.
    """

    def __init__(self, heir: Path, probes: bool = True) -> None:
        self._heir, self._probes = heir, probes
        self._seen: dict[tuple[str, float], float] = {}
        self._asked: dict[str, tuple[float, str | None]] = {}

    def __call__(self, path: Path, owner: Owner, touched: float) -> Verdict:
        """Whether the owner that a file names is gone; the file was last touched at a time of the file system's clock."""
        runs = False if owner.left else owner.process.runs()
        if runs:
            return Verdict(False, ", whose launcher has died: it should end by itself, or kill it" if owner.orphan else "")
        heir = read_owner(self._heir)
        heir_runs = heir[0].process.runs() if heir is not None and heir[0].token == owner.token else False
        if runs is False and heir_runs:
            return Verdict(False, ", which has ended and whose last checkpoint is still being written", draining=True)
        if runs is False and heir_runs is False:
            return Verdict(True, ", which has ended")
        if (over := self._over(owner)) is not None:
            return Verdict(True, f": {over}")
        return self._by_heartbeat(path, owner, touched)

    def _over(self, owner: Owner) -> str | None:
        """`BatchJob.over`, not asked more often than every few seconds."""
        when, answer = self._asked.get(owner.token, (-_ASK_SECONDS, None))
        if answer is None and time.monotonic() - when >= _ASK_SECONDS:
            answer = owner.job.over()
            self._asked[owner.token] = time.monotonic(), answer
        return answer

    def _by_heartbeat(self, path: Path, owner: Owner, touched: float) -> Verdict:
        first = self._seen.setdefault((owner.token, touched), time.monotonic())
        age = self._now(path.parent) - touched
        alive = f", which showed a sign of life {max(age, 0):.0f} s ago ({GONE_SECONDS:.0f} s without one count as its end)"
        watched = time.monotonic() - first
        if age <= GONE_SECONDS and watched < GONE_SECONDS:
            return Verdict(False, alive)
        if watched < WATCH_SECONDS:
            return Verdict(False, alive, watching=True)
        return Verdict(
            True,
            f", which has shown no sign of life for {max(age, watched):.0f} s by the file system's clock",
            "whether it has really ended could not be made sure of from this node",
        )

    def _now(self, folder: Path) -> float:
        """The file system's clock, read off a new file; where none can be made, this node's."""
        if self._probes:
            probe = folder / f".lock-new-{os.urandom(4).hex()}"
            with suppress(OSError):
                descriptor = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
                try:
                    return os.fstat(descriptor).st_mtime
                finally:
                    os.close(descriptor)
                    probe.unlink()
        return time.time()
