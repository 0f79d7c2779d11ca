"""The keeper: a small process beside each rank that holds the copies of its state, outlives it, and brings them to disk.

    rank --- slot, complete, flush ---> keeper --- rank-00003.h5, rank-00003.json ---> RUN/step-.../
    rank <-- written, failed, committed - keeper       (the first rank's keeper also writes commit.json)

When its rank dies the keeper writes what was complete in memory, so that nothing is lost, waits for a restarted run to ask for the memory,
and ends; the memory ends with it. Standard library only: it starts in some hundredths of a second and takes 10 MB beside the state.
"""

import json
import mmap
import os
import select
import socket
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcml.core.errors import CheckpointError
from hpcml.io.checkpoint import catalog
from hpcml.io.checkpoint.channel import receive, send
from hpcml.io.checkpoint.core_time import seconds_without_core
from hpcml.io.checkpoint.handover import hand_over, open_point
from hpcml.io.checkpoint.kept_parity import KeptParity
from hpcml.io.checkpoint.spare import Spares
from hpcml.io.files.checksum import checksums
from hpcml.io.files.lock import FolderHeir
from hpcml.io.files.record import read_record, write_record
from hpcml.io.files.replace import write_file

_POLL_SECONDS = 0.005  # between two looks for the records of the other ranks
_MOST_UNCOMMITTED = 4  # the first rank's keeper commits; the others remember the last few, in case it is lost
_PATIENCE_SECONDS = 15.0  # for a keeper that may be lost, after the rank has died; on a busy node one takes seconds to start


@dataclass(slots=True)
class Slot:
    """One copy of the state: its memory and, once the copy is complete, what it is a copy of."""

    fd: int
    memory: mmap.mmap
    header: dict[str, Any] | None = None

    @property
    def sequence(self) -> int:
        return -1 if self.header is None else int(self.header["sequence"])


class Keeper:
    """Keeps the copies of one rank.

    Parameters
    ----------
    channel : socket.socket
        To the rank.
    rank_process : int
        Process id of the rank.
    rank, size : int
        Of the run.
    folder : str
        Of the run.
    keep : int
        Complete checkpoints that stay on disk.
    linger : float
        Seconds to hold the memory for a restarted run after the rank has died.
    lock : str
        Token of the folder's `FolderLock` on rank 0, else empty.
    """

    def __init__(
        self, channel: socket.socket, *, rank_process: int, rank: int, size: int, folder: str, keep: int, linger: float, lock: str
    ) -> None:
        self._channel, self._rank, self._size, self._folder = channel, rank, size, Path(folder)
        self._keep, self._linger = keep, linger
        self._heir = FolderHeir(self._folder, lock) if lock else None
        self._slots: dict[int, Slot] = {}
        self._view: int | None = None
        self._damaged: set[Path] = set()
        self._written: set[int] = set()  # sequences that this keeper has brought to disk
        self._uncommitted: list[dict[str, Any]] = []
        self._parity: KeptParity | None = None
        self._alone = False
        self._session: str | None = None
        self._watch: int | None = None
        with suppress(OSError):  # the rank may be dead already: then the channel says so
            self._watch = os.pidfd_open(rank_process)

    def run(self) -> None:
        """Serve the rank until it says goodbye or dies."""
        sources: list[Any] = [self._channel, *([self._watch] if self._watch is not None else [])]
        while True:
            ready, _, _ = select.select(sources, [], [], _POLL_SECONDS if self._uncommitted and self._rank == 0 else None)
            if self._channel in ready:
                received = receive(self._channel)
                if received is None:
                    return self._outlive()
                message, files = received
                if message["do"] == "leave":
                    return self._tidy()
                self._obey(message, files)
            elif ready:  # the rank is dead although a process that it forked still holds the channel open
                self._channel.setblocking(False)
                with suppress(BlockingIOError):
                    while received := receive(self._channel):
                        self._obey(*received)
                return self._outlive()
            if self._rank == 0:
                self._commit()

    def _obey(self, message: dict[str, Any], files: list[int]) -> None:
        match message["do"]:
            case "slot":
                self._replace_slot(message["slot"], files[0])
            case "view":
                if self._view is not None:
                    os.close(self._view)
                self._view = files[0]
            case "filling":
                self._slots[message["slot"]].header = None
            case "complete":
                self._slots[message["slot"]].header = message["header"]
                if message["flush"]:
                    self._flush_aside(self._slots[message["slot"]])
            case "commit":
                self._uncommitted.append(message["header"])
            case "parity":
                self._parity = KeptParity.from_message(message, files)
            case "encode":
                assert self._parity is not None
                self._parity.encode(message["half"], message["header"])
                self._tell({"encoded": message["header"]["sequence"]})
            case "damaged":
                self._damaged.add(Path(message["path"]))

    def _replace_slot(self, index: int, fd: int) -> None:
        old = self._slots.get(index)
        self._slots[index] = Slot(fd, mmap.mmap(fd, 0, access=mmap.ACCESS_READ))
        if old is not None:
            old.memory.close()
            os.close(old.fd)

    def _flush_aside(self, slot: Slot) -> None:
        """Bring one copy to disk at the lowest priority: where every core is taken, the disk waits rather than training."""

        def work() -> None:
            os.setpriority(os.PRIO_PROCESS, 0, 19)  # of this thread alone: what is done for a dead rank is done at once
            self._flush(slot)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    def _flush(self, slot: Slot) -> None:
        """Bring one copy to disk and tell the rank."""
        header = slot.header
        assert header is not None
        path, waited = self._path(header), seconds_without_core()
        try:
            path.mkdir(exist_ok=True)
            with memoryview(slot.memory) as memory:
                self._spares(header).write(path / catalog.rank_file(self._rank), memory)
                if self._view is not None:
                    write_file(path / catalog.VIEW, os.pread(self._view, os.fstat(self._view).st_size, 0))
                write_record(path / catalog.rank_record(self._rank), catalog.describe_rank(self._rank, len(memory), checksums(memory)))
        except OSError as error:
            self._tell_failure(header, error.errno, f"writing {path} failed: {error}")
            return
        self._written.add(header["sequence"])
        self._uncommitted = [*self._uncommitted, header][-_MOST_UNCOMMITTED:]
        self._tell({"written": header["sequence"], "waited": seconds_without_core() - waited})

    def _commit(self) -> None:
        """Commit what every rank has written, newest first; what is older than a committed checkpoint is given up."""
        for header in sorted(self._uncommitted, key=lambda header: -header["sequence"]):
            path = self._path(header)
            try:
                done = catalog.try_commit(path, header)
            except (OSError, CheckpointError) as error:
                self._uncommitted.remove(header)
                if self._superseded(header):  # by the work of a keeper that was lost before it told
                    self._tell({"committed": header["sequence"]})
                    continue
                catalog.remove(path)
                self._tell_failure(header, getattr(error, "errno", None), f"committing {path} failed: {error}")
                continue
            if done:
                self._give_up_before(header["sequence"])
                self._tell({"committed": header["sequence"]})  # first: to remove a large file takes a third of the time to write it
                catalog.prune(self._folder, self._keep, None if self._alone else header["session"], self._damaged)
                return

    def _give_up_before(self, sequence: int) -> None:
        for header in self._uncommitted:
            if header["sequence"] < sequence and not self._committed(header):
                catalog.remove(self._path(header))
        self._uncommitted = [header for header in self._uncommitted if header["sequence"] > sequence]

    def _spares(self, header: dict[str, Any]) -> Spares:
        self._session = header["session"]
        return Spares(self._folder, self._session, self._rank)

    def _tidy(self) -> None:
        if self._session is not None:
            Spares(self._folder, self._session, self._rank).remove()
        if self._heir is not None:
            self._heir.close()

    def _superseded(self, header: dict[str, Any]) -> bool:
        return any(checkpoint.sequence >= header["sequence"] for checkpoint in catalog.survey(self._folder).complete)

    def _path(self, header: dict[str, Any]) -> Path:
        return self._folder / catalog.folder_name(header["step"], header["session"])

    def _tell_failure(self, header: dict[str, Any], number: int | None, text: str) -> None:
        self._tell({"failed": header["sequence"], "errno": number, "error": text})

    def _tell(self, message: dict[str, Any]) -> None:
        with suppress(OSError):  # a dead rank need not know
            send(self._channel, message)

    def _outlive(self) -> None:
        """The rank is dead: bring the complete copies to disk, then hold them for whoever restarts the run."""
        self._alone = True
        if self._heir is not None:
            self._heir.take()
        point = open_point(self._folder, self._rank)
        complete = sorted((slot for slot in self._slots.values() if slot.header), key=lambda slot: slot.sequence)
        self._publish(complete)
        newest = max((checkpoint.sequence for checkpoint in catalog.survey(self._folder).complete), default=-1)
        self._uncommitted = [header for header in self._uncommitted if header["sequence"] > newest]
        for slot in complete:
            if slot.sequence > newest and slot.sequence not in self._written:
                self._flush(slot)
        self._commit_as_orphan()
        self._tidy()
        if complete:
            self._hold(point, complete)

    def _commit_as_orphan(self) -> None:
        """Every keeper tries, since the first rank's may be lost, but not for what another rank never had."""
        seen, since = -1, time.monotonic()
        while self._uncommitted and time.monotonic() - since < _PATIENCE_SECONDS:
            self._commit()
            self._uncommitted = [header for header in self._uncommitted if not self._committed(header) and not self._hopeless(header)]
            progress = sum(self._files_of(header) for header in self._uncommitted)
            if progress != seen:
                seen, since = progress, time.monotonic()
            time.sleep(_POLL_SECONDS)

    def _publish(self, complete: list[Slot]) -> None:
        """Let the other keepers know which copies this rank has, in memory or on disk."""
        for session in {slot.header["session"] for slot in complete if slot.header is not None}:
            have = sorted(self._written | {slot.sequence for slot in complete})[-16:]
            with suppress(OSError):
                write_record(self._folder / f"{catalog.HAVE}{session}-{self._rank}", {"have": have})

    def _hopeless(self, header: dict[str, Any]) -> bool:
        """Whether the keeper of some rank has said that it does not have a copy."""
        for path in self._folder.glob(f"{catalog.HAVE}{header['session']}-*"):
            with suppress(OSError, CheckpointError):
                if header["sequence"] not in read_record(path)["have"]:
                    return True
        return False

    def _committed(self, header: dict[str, Any]) -> bool:
        return (self._path(header) / catalog.COMMIT).exists()

    def _files_of(self, header: dict[str, Any]) -> int:
        with suppress(OSError):
            return len(list(self._path(header).iterdir()))
        return 0

    def _hold(self, point: socket.socket, complete: list[Slot]) -> None:
        offer: dict[str, Any] = {"rank": self._rank, "size": self._size, "headers": [slot.header for slot in complete]}
        files = [slot.fd for slot in complete]
        if self._parity is not None:
            offer["parity"] = self._parity.offer()
            files.append(self._parity.fd)
        hand_over(point, offer, files, self._linger)


def main() -> None:
    """Entry of the process: ``python -m hpcml.io.checkpoint.keeper CHANNEL OPTIONS``."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    with suppress(OSError):  # the launcher may have bound the rank to one core: do not compete for it
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        Keeper(channel, **json.loads(sys.argv[2])).run()
    except Exception:
        with suppress(OSError):
            send(channel, {"crashed": traceback.format_exc()})
        raise


if __name__ == "__main__":
    main()
