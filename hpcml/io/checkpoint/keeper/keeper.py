"""The keeper: a small process beside each rank that holds the copies of its state, outlives it, and brings them to disk.

    rank --- slot, complete, flush ---> keeper --- rank-00003.h5, rank-00003.json ---> RUN/step-.../
    rank <-- written, failed, committed - keeper       (the first rank's keeper also writes commit.json)

When its rank dies the keeper writes what was complete in memory, so that nothing is lost, waits for a restarted run to ask for the memory,
and ends; the memory ends with it. Standard library only: it starts in some hundredths of a second and takes 10 MB beside the state.
"""

import mmap
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcml.io.checkpoint.keeper.channel import ready, receive, send
from hpcml.io.checkpoint.keeper.disk import POLL_SECONDS, Disk
from hpcml.io.checkpoint.keeper.handover import hand_over, open_point
from hpcml.io.checkpoint.keeper.session import Session
from hpcml.io.checkpoint.parity.kept_parity import KeptParity
from hpcml.io.files.lock import FolderHeir


@dataclass(slots=True)
class Slot:
    """One copy of the state: its memory and, once the copy is complete, what it is a copy of."""

    fd: int
    memory: mmap.mmap
    header: dict[str, Any] | None = None


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
        self._channel, self._rank, self._size = channel, rank, size
        self._linger, self._heir = linger, FolderHeir(Path(folder), lock) if lock else None
        self._disk = Disk(Path(folder), rank, keep, self._tell)
        self._session: Session | None = None
        self._slots: dict[int, Slot] = {}
        self._parity: KeptParity | None = None
        self._watch: int | None = None
        with suppress(OSError):  # the rank may be dead already: then the channel says so
            self._watch = os.pidfd_open(rank_process)

    def run(self) -> None:
        """Serve the rank until it says goodbye or dies."""
        sources: list[Any] = [self._channel, *([self._watch] if self._watch is not None else [])]
        while True:
            heard = ready(sources, POLL_SECONDS if self._disk.uncommitted and self._rank == 0 else None)
            if self._channel in heard:
                received = receive(self._channel)
                if received is None:
                    return self._outlive()
                message, files = received
                if message["do"] == "leave":
                    return self._tidy()
                self._obey(message, files)
            elif heard:  # the rank is dead although a process that it forked still holds the channel open
                self._channel.setblocking(False)
                with suppress(BlockingIOError):
                    while received := receive(self._channel):
                        self._obey(*received)
                return self._outlive()
            if self._rank == 0:
                self._disk.commit()

    def _obey(self, message: dict[str, Any], files: list[int]) -> None:
        match message["do"]:
            case "session":
                self._session = Session(message["name"], message["secret"], self._size)
            case "slot":
                self._replace_slot(message["slot"], files[0])
            case "view":
                if self._disk.view is not None:
                    os.close(self._disk.view)
                self._disk.view = files[0]
            case "filling":
                self._slots[message["slot"]].header = None
            case "complete":
                slot, header = self._slots[message["slot"]], message["header"]
                slot.header = header
                if message["flush"]:
                    with memoryview(slot.memory) as copy:
                        self._disk.write(header, copy, message["yield_until"])
            case "commit":
                self._disk.uncommitted.append(message["header"])
            case "parity":
                self._parity = KeptParity.from_message(message, files)
            case "encode":
                assert self._parity is not None
                self._parity.encode(message["half"], message["header"])
                self._tell({"encoded": message["header"]["sequence"]})
            case "damaged":
                self._disk.damaged.add(Path(message["path"]))

    def _replace_slot(self, index: int, fd: int) -> None:
        old = self._slots.get(index)
        self._slots[index] = Slot(fd, mmap.mmap(fd, 0, access=mmap.ACCESS_READ))
        if old is not None:
            old.memory.close()
            os.close(old.fd)

    def _tell(self, message: dict[str, Any]) -> None:
        with suppress(OSError):  # a dead rank need not know
            send(self._channel, message)

    def _tidy(self) -> None:
        self._disk.tidy()
        if self._heir is not None:
            self._heir.close()

    def _outlive(self) -> None:
        """The rank is dead: bring the complete copies to disk, then hold them for whoever restarts the run."""
        if self._heir is not None:
            self._heir.take()
        point = None
        if self._session is not None:
            with suppress(OSError):  # where no socket can be made, the disk has to do
                point = open_point(self._session, self._rank)
        complete = {slot.header["sequence"]: slot for slot in self._slots.values() if slot.header is not None}
        self._disk.finish({sequence: (slot.header or {}, memoryview(slot.memory)) for sequence, slot in complete.items()})
        self._tidy()
        if complete and point is not None and self._session is not None:
            offer: dict[str, Any] = {"rank": self._rank, "size": self._size, "headers": [slot.header for slot in complete.values()]}
            files = [slot.fd for slot in complete.values()]
            if self._parity is not None:
                offer["parity"] = self._parity.offer()
                files.append(self._parity.fd)
            hand_over(point, self._session.secret, offer, files, self._linger)
