"""One writer per folder, on any number of nodes, whether or not the file system has locks.

    .lock      who writes there: a file that one process alone can make, touched every `BEAT_SECONDS` while its owner lives
    .heir      who brings the last checkpoint to disk when the owner has died

Standard library only: the keeper of checkpoints imports this file.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from hpcml.core.errors import CheckpointError
from hpcml.io.files.exclusive import create, exchange, replace_by
from hpcml.io.files.owner import Owner, read_owner
from hpcml.io.files.process import Process
from hpcml.io.files.verdict import BEAT_SECONDS, GONE_SECONDS, Judge, Verdict

__all__ = ["DRAIN_SECONDS", "HEIR", "LOCK", "FolderHeir", "FolderLock", "holder", "name_heir"]

_log = logging.getLogger(__name__)
LOCK, HEIR = ".lock", ".heir"
DRAIN_SECONDS = 120.0
ORPHAN_SECONDS = 30.0
_POLL_SECONDS = 0.05


class FolderLock:
    """The exclusive right to write into a folder.

    Parameters
    ----------
    folder : pathlib.Path
        The folder; made if it is not there.
    patience : float
        Seconds to wait for a job that still runs, in case it is about to end. A job that has died may take `DRAIN_SECONDS` more to
        finish its last checkpoint, and one whose launcher has died `ORPHAN_SECONDS` to notice.

    Attributes
    ----------
    token : str
        Tells this hold on the folder from any other.

    Raises
    ------
    CheckpointError
        Naming the process, host and job that hold the folder.
    OSError
        Where the folder cannot be made or written.

    Communication
    -------------
    Local; called on one rank.

    Notes
    -----
    An owner is gone if its process is (seen on its own node, by number and start), if it was the same batch job before that was put back
    into the queue, if Slurm says that its job is over, or if it has not touched its file for `GONE_SECONDS` by the file system's own clock;
    see `hpcml.io.files.verdict`. Neither ``flock`` nor ``fcntl`` is asked for anything.
    """

    def __init__(self, folder: Path, patience: float = 3.0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / LOCK
        self._owner = Owner.this()
        self.token = self._owner.token
        self._judge = Judge(folder / HEIR)
        start = time.monotonic()
        while not create(self._path, self._owner.encode()):
            found = read_owner(self._path)
            if found is None:
                continue
            verdict = self._judge(self._path, *found)
            if verdict.gone and self._take_over(found[0], verdict):
                break
            limit = max(DRAIN_SECONDS * verdict.draining, ORPHAN_SECONDS * found[0].orphan, patience)
            if not verdict.gone and not verdict.watching and time.monotonic() - start > limit:
                raise CheckpointError(
                    f"{folder} is in use by {found[0]}{verdict.why}: give this run a folder of its own, end the other job first, or wait "
                    "for it (`--wait` of `hpcml train`)"
                )
            time.sleep(_POLL_SECONDS)
        try:
            for rest in folder.glob(f"{LOCK}-*"):  # of processes that were killed while they tried
                with suppress(OSError):
                    rest.unlink()
            self._beat = Heartbeat(self._path, self._owner)
        except BaseException:  # no thread can be started, for example
            _do(self._path, self._owner, self._path.unlink)
            raise

    def check(self) -> None:
        """See that nobody else has taken the folder, as may happen to a process that stood still for longer than `GONE_SECONDS`.

        Raises
        ------
        CheckpointError
            Naming who has it now.
        """
        self._beat.catch_up()
        if self._beat.lost is not None:
            who = "another job that has left" if self._beat.lost is self._owner else str(self._beat.lost)
            raise CheckpointError(
                f"{self._path.parent} was taken over by {who} while this process stood still: start again to go on from there"
            )

    def close(self, to_heir: bool = False) -> None:
        """Give the folder back.

        Parameters
        ----------
        to_heir : bool
            Leave that to the `FolderHeir`, if there is one that lives.
        """
        self._beat.stop()
        heir = read_owner(self._path.with_name(HEIR)) if to_heir else None
        if heir is not None and heir[0].token == self.token and heir[0].process.runs():
            left = replace(self._owner, left=True)
            _do(self._path, left, lambda: replace_by(self._path, left.encode()))
        else:
            _do(self._path, self._owner, self._path.unlink)

    def _take_over(self, found: Owner, verdict: Verdict) -> bool:
        def gone(path: Path, owner: Owner) -> bool:
            again = read_owner(path)
            return again is not None and self._judge(path, owner, again[1]).gone

        done = exchange(self._path, found, self._owner, gone, lambda: replace_by(self._path, self._owner.encode()))
        if done and verdict.unsure:
            _log.warning("%s was in use by %s%s; %s", self._path.parent, found, verdict.why, verdict.unsure)
        return done


def name_heir(folder: Path, token: str, pid: int) -> None:
    """Say who is the heir of a `FolderLock`: a process that may only be starting, so that no restart comes before it.

    Communication
    -------------
    Local; called by the owner.
    """
    with suppress(OSError):  # then a restart knows of the owner only
        replace_by(folder / HEIR, replace(Owner.this(token), process=Process.this(pid), launcher=None).encode())


class FolderHeir:
    """Who keeps a folder for an owner that has died, until the last checkpoint is on disk.

    Parameters
    ----------
    folder : pathlib.Path
        The folder.
    token : str
        Of the `FolderLock`.

    Communication
    -------------
    Local.
    """

    def __init__(self, folder: Path, token: str) -> None:
        self._path, self._owner = folder / LOCK, Owner.this(token)
        self._beat: Heartbeat | None = None

    def take(self) -> None:
        """The owner has died: show that somebody is still at work."""
        self._beat = Heartbeat(self._path, self._owner)

    def close(self) -> None:
        """Give the folder back if the owner has died, and leave."""
        if self._beat is not None:
            self._beat.stop()
            _do(self._path, self._owner, self._path.unlink)
        heir = self._path.with_name(HEIR)
        found = read_owner(heir)
        if found is not None and found[0].token == self._owner.token:
            with suppress(OSError):
                heir.unlink()


class Heartbeat:
    """A thread that touches the file of an owner from time to time.

    Attributes
    ----------
    lost : Owner or None
        Who stands in the file now, if that is somebody else.
    """

    def __init__(self, path: Path, owner: Owner) -> None:
        self._path, self._owner = path, owner
        self.lost: Owner | None = None
        self._last, self._end = _now(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="hpcml-heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._end.set()
        self._thread.join(BEAT_SECONDS)

    def catch_up(self) -> None:
        """Look at the file now if the last look is so long ago that another may have taken it."""
        if self.lost is None and _now() - self._last > GONE_SECONDS / 2:
            with suppress(OSError):
                self.beat()

    def beat(self) -> None:
        """Touch the file once. One that somebody has removed is made again, unless another may have had it in between."""
        found = read_owner(self._path)
        if found is None and _now() - self._last < GONE_SECONDS:
            create(self._path, self._owner.encode())
        elif found is not None and found[0].token == self._owner.token:
            os.utime(self._path)  # without a time of ours: a server takes its own
        else:
            self.lost = self._owner if found is None else found[0]
            return
        self._last = _now()

    def _run(self) -> None:
        while self.lost is None and not self._end.wait(BEAT_SECONDS):
            with suppress(OSError):  # a full disk or a server that is away; the next one may be heard
                self.beat()


def _now() -> float:
    """Seconds, those in which the machine slept included."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def holder(folder: Path) -> tuple[Owner, Verdict] | None:
    """Who writes into a folder, and whether that one is gone; None for nobody.

    Communication
    -------------
    Local; nothing is written.
    """
    found = read_owner(folder / LOCK)
    return None if found is None else (found[0], Judge(folder / HEIR, probes=False)(folder / LOCK, *found))


def _do(path: Path, owner: Owner, act: Callable[[], None]) -> None:
    """Do something to one's own file. Where that cannot be done, who comes next finds that this process is gone."""
    with suppress(OSError):
        for _ in range(3):
            if exchange(path, owner, owner, lambda path, other: other.process.runs() is False, act):
                return
            if (found := read_owner(path)) is None or found[0].token != owner.token:
                return
            time.sleep(_POLL_SECONDS)
