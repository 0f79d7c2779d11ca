"""The rank's end of the line to its keeper: starts it, starts another one when it is lost, and remembers what it must be told again."""

import json
import logging
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcml.core.errors import CheckpointError
from hpcml.core.own_process import own_process
from hpcml.io.checkpoint.keeper import channel
from hpcml.io.checkpoint.keeper.session import Session
from hpcml.io.files.lock import name_heir
from hpcml.io.files.remedy import remedy

_log = logging.getLogger(__name__)
_REST = 3.0  # times as long as a write had to wait for a core, the disk rests from writing
MAX_AGE_SECONDS = 60.0
_MOST_LOSSES = 3  # in a row, without a copy brought to disk between them: then it is no accident


@contextmanager
def _deaf_to_the_batch_system() -> Iterator[None]:
    """Processes started meanwhile never notice the signals that Slurm sends to every process of a job: keepers leave after their ranks."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass(slots=True)
class _Copy:
    """What the keeper has been told about one slot."""

    fd: int
    header: dict[str, Any] | None = None
    flush: bool = False


@dataclass(slots=True)
class KeeperLink:
    """Line to the keeper of this rank.

    Parameters
    ----------
    options : dict
        Of the keeper, see `keeper.Keeper`; ready for JSON.
    session : Session
        By which a restart finds the keeper.
    max_age : float
        Seconds for which a copy may wait to be on disk before the disk rests no more and writing goes at the priority of training.

    Attributes
    ----------
    committed : int
        Sequence of the newest committed copy that the keeper has told of; on the first rank only.

    Communication
    -------------
    None by MPI.

    Notes
    -----
    A keeper that is killed loses nothing: its memory is also open here, and another keeper is told again what it must know.
    """

    options: dict[str, Any]
    session: Session | None = None
    max_age: float = MAX_AGE_SECONDS
    committed: int = -1
    _copies: dict[int, _Copy] = field(default_factory=dict)
    _view: int | None = None
    _parity: tuple[dict[str, Any], tuple[int, ...]] | None = None
    _parity_headers: list[dict[str, Any] | None] = field(default_factory=lambda: [None, None])
    """What the two halves of the parity memory hold the parity of."""
    _encoding: tuple[int, dict[str, Any]] | None = None
    """Half that is being written and what it will hold."""
    _half: int = 0
    _flushing: dict[int, int] = field(default_factory=dict)
    """Slot by sequence of the copies on their way to disk."""
    _uncommitted: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Headers, by sequence, of what the first rank's keeper has still to commit."""
    _rest_until: float = 0.0
    _damaged: list[str] = field(default_factory=list)
    _made: dict[int, float] = field(default_factory=dict)
    """When each copy was made, by sequence, that is newer than the newest on disk."""
    _failure: str | None = None
    _losses: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _end: Any = None

    def __post_init__(self) -> None:
        self._start()

    def set_image(self, slot: int, fd: int) -> None:
        """Give a slot other memory."""
        self._copies[slot] = _Copy(fd)
        self._send({"do": "slot", "slot": slot}, fd)

    def set_view(self, fd: int) -> None:
        """Give the file that shows the arrays of all ranks as one."""
        if self._view is not None:
            os.close(self._view)
        self._view = fd
        self._send({"do": "view"}, fd)

    def set_parity(self, group: dict[str, Any], incoming: int, parity: int) -> None:
        """Give memory for the segments that arrive from other ranks and for the parity computed of them."""
        for file in self._parity[1] if self._parity is not None else ():
            os.close(file)
        self._parity, self._parity_headers = (group, (incoming, parity)), [None, None]
        self._send({"do": "parity", "group": group, "headers": [None, None]}, incoming, parity)

    def encode(self, header: dict[str, Any]) -> None:
        """Say that all segments of a copy have arrived."""
        self._half = 1 - self._half  # the older half: the newer one stays whole
        self._parity_headers[self._half] = None
        self._encoding = self._half, header
        self._send({"do": "encode", "half": self._half, "header": header})

    def encoding(self) -> bool:
        """Whether parity is being computed."""
        return self._encoding is not None

    def wait_encoded(self) -> str | None:
        """Wait until no parity is being computed; return what went wrong."""
        while self._encoding and self._failure is None:
            self._hear()
        return self.poll()

    def set_damaged(self, paths: Iterable[Path]) -> None:
        """Name checkpoints that do not count when old ones are removed."""
        for path in paths:
            self._damaged.append(str(path.absolute()))  # the keeper's own name of the folder is absolute
            self._send({"do": "damaged", "path": self._damaged[-1]})

    def filling(self, slot: int) -> None:
        """Say that a slot's copy is about to be overwritten."""
        self._copies[slot].header = None
        self._send({"do": "filling", "slot": slot})

    def complete(self, slot: int, header: dict[str, Any], flush: bool) -> None:
        """Say that a slot holds a complete copy and whether to bring it to disk."""
        copy, sequence = self._copies[slot], header["sequence"]
        copy.header, copy.flush = header, flush
        self._made.setdefault(sequence, time.monotonic())
        if flush:
            self._flushing[sequence] = slot
            if self.options["rank"] == 0:
                self._uncommitted[sequence] = header
        self._send(self._completed(slot, header, flush))

    def behind(self) -> tuple[float, int]:
        """Seconds since the first save that is newer than what is on disk, and how many there are."""
        return (time.monotonic() - min(self._made.values()), len(self._made)) if self._made else (0.0, 0)

    def flushing(self) -> set[int]:
        """Slots whose copies are on their way to disk."""
        return set(self._flushing.values())

    def occupied(self) -> bool:
        """Whether a copy is on its way to disk, or was so when every core was taken: then a rest follows, up to `max_age`."""
        return bool(self._flushing) or (time.monotonic() < self._rest_until and self.behind()[0] < self.max_age)

    def listen(self) -> None:
        """Hear what the keeper has to say, without waiting."""
        while channel.ready([self._end], 0.0):
            self._hear()

    def poll(self) -> str | None:
        """Hear what the keeper has to say, without waiting; return what went wrong since the last call."""
        self.listen()
        failure, self._failure = self._failure, None
        return failure

    def wait_written(self) -> str | None:
        """Wait until no copy of this rank is on its way to disk; return what went wrong."""
        while self._flushing:
            self._hear()
        return self.poll()

    def wait_committed(self, sequence: int) -> str | None:
        """Wait, on the first rank, until a copy is committed; return what went wrong."""
        while self.committed < sequence and self._failure is None:
            self._hear()
        return self.poll()

    def close(self, clean: bool) -> None:
        """Part from the keeper: a clean end lets it go at once, otherwise it does as if the rank had died."""
        if clean:
            with suppress(OSError):  # a keeper that is lost need not be told
                channel.send(self._end, {"do": "leave"})
        self._end.close()
        if clean and self._process is not None:
            self._process.wait()

    def _start(self) -> None:
        mine, its = channel.pair()
        command, added = own_process("hpcml.io.checkpoint.keeper", str(its.fileno()), json.dumps(self.options))
        with its, _deaf_to_the_batch_system():
            self._process = subprocess.Popen(
                command,
                pass_fds=(its.fileno(),),
                env=os.environ | added,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # What ends the rank's process group must not end it. It stays in the session: Linux shares cores out evenly among
                # sessions (autogroup), and its low priority would mean nothing to a rank in another one.
                process_group=0,
            )
        if self.options["lock"]:  # before anything is saved: a restart must not overtake a keeper that is still starting
            name_heir(Path(self.options["folder"]), self.options["lock"], self._process.pid)
        self._end = mine
        if self.session is not None:  # not on the command line, which everybody can read
            channel.send(mine, {"do": "session", "name": self.session.name, "secret": self.session.secret})
        for path in self._damaged:
            channel.send(mine, {"do": "damaged", "path": path})
        if self._view is not None:
            channel.send(mine, {"do": "view"}, [self._view])
        if self._parity is not None:
            channel.send(mine, {"do": "parity", "group": self._parity[0], "headers": self._parity_headers}, self._parity[1])
            if self._encoding is not None:
                channel.send(mine, {"do": "encode", "half": self._encoding[0], "header": self._encoding[1]})
        for slot, copy in sorted(self._copies.items(), key=lambda item: (item[1].header or {}).get("sequence", -1)):
            channel.send(mine, {"do": "slot", "slot": slot}, [copy.fd])
            if copy.header is not None:
                channel.send(mine, self._completed(slot, copy.header, copy.header["sequence"] in self._flushing))
        for number, header in self._uncommitted.items():
            if number not in self._flushing:
                channel.send(mine, {"do": "commit", "header": header})

    def _completed(self, slot: int, header: dict[str, Any], flush: bool) -> dict[str, Any]:
        """The message that a copy is complete; it is brought to disk unhurriedly only until it, or one before it, has waited for long."""
        yield_until = min(self._made.values(), default=0.0) + self.max_age
        return {"do": "complete", "slot": slot, "header": header, "flush": flush, "yield_until": yield_until}

    def _restart(self) -> None:
        """The keeper is lost: have another one take its place."""
        self._end.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._losses += 1
        if self._losses > _MOST_LOSSES:
            raise CheckpointError(
                f"the process that keeps this rank's checkpoints ended {self._losses} times in a row "
                f"(status {self._process.returncode if self._process else 'unknown'}): is memory short on this node?"
            )
        _log.warning("the process that keeps this rank's checkpoints was lost; another one takes its place")
        self._start()

    def _send(self, message: dict[str, Any], *files: int) -> None:
        try:
            channel.send(self._end, message, files)
        except OSError:
            self._restart()  # which tells all that the new one must know, this message's content included

    def _hear(self) -> None:
        received = channel.receive(self._end)
        if received is None:
            self._restart()
            return
        message, _ = received
        if "crashed" in message:
            _log.error("the process that keeps this rank's checkpoints failed:\n%s", message["crashed"])
        elif "written" in message:
            self._flushing.pop(message["written"], None)
            if self.options["rank"] > 0:  # the first rank's keeper also tells what all have written
                self._forget(message["written"])
            self._rest_until = time.monotonic() + _REST * message["waited"]
            self._losses = 0
        elif "encoded" in message and self._encoding is not None:
            self._parity_headers[self._encoding[0]] = self._encoding[1]
            self._encoding = None
        elif "committed" in message:
            self.committed = max(self.committed, message["committed"])
            self._forget(self.committed)
            self._uncommitted = {number: header for number, header in self._uncommitted.items() if number > self.committed}
        elif "failed" in message:
            self._flushing.pop(message["failed"], None)
            self._uncommitted.pop(message["failed"], None)
            self._failure = f"{message['error']}{remedy(message['errno'])}"

    def _forget(self, sequence: int) -> None:
        self._made = {number: made for number, made in self._made.items() if number > sequence}
