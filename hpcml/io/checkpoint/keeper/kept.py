"""What the keepers of a run that has died still hold on this node."""

import mmap
import os
import select
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpi4py import MPI

from hpcml.core.errors import CheckpointError
from hpcml.io.checkpoint.keeper.channel import receive, send
from hpcml.io.checkpoint.keeper.session import Session, earlier_sessions, is_same_user
from hpcml.io.checkpoint.parity.parity_group import ParityGroup
from hpcml.io.files.agree import together

_ANSWER_SECONDS = 30.0  # a keeper may still be bringing its copies to disk; it gives up on others that are lost after half of that


@dataclass(slots=True)
class Kept:
    """The memory of one keeper, shared.

    Attributes
    ----------
    rank, size : int
        Of the run that died.
    copies : dict of (session, sequence) to (header, file descriptor)
        Complete copies of what the rank wrote of the state.
    group, member : ParityGroup and int, or None and -1
        Whose parity it holds.
    parity : dict of (session, sequence) to int
        The half of the parity memory that belongs to each.
    """

    rank: int
    size: int
    copies: dict[tuple[str, int], tuple[dict[str, Any], int]]
    group: ParityGroup | None = None
    member: int = -1
    parity: dict[tuple[str, int], int] = field(default_factory=dict)
    parity_memory: mmap.mmap | None = None
    line: socket.socket | None = None

    def bundle(self, key: tuple[str, int], stripe: int) -> memoryview:
        """Parity of a stripe that this member holds."""
        assert self.group is not None and self.parity_memory is not None
        place = self.parity[key] * self.group.losses + self.group.stripes_held(self.member).index(stripe)
        return memoryview(self.parity_memory)[place * self.group.bundle :][: self.group.bundle]

    def release(self) -> None:
        """Tell the keeper that its memory is no longer needed."""
        if self.line is not None:
            with suppress(OSError):
                send(self.line, {"do": "leave"})
            self.line.close()
            for _, fd in self.copies.values():
                os.close(fd)
            self.line = None


def find_kept(folder: Path, comm: MPI.Intracomm, session: Session) -> list[Kept]:
    """What the keepers of the starts of a run before this one hold on this node.

    Raises
    ------
    CheckpointError
        On every rank, where the system refuses to be asked.

    Communication
    -------------
    Collective: some bytes per start.
    """
    earlier: list[Session] = []
    with together(comm, "looking for the keepers of an earlier run"):
        if comm.rank == 0:
            earlier = [other for other in earlier_sessions(folder) if other != session]
    earlier = comm.bcast(earlier)
    with together(comm, "asking the keepers of an earlier run"):
        return visit_keepers(earlier)


def visit_keepers(sessions: Sequence[Session]) -> list[Kept]:
    """Ask the keepers that wait on this node for a restart of a run what they hold.

    Parameters
    ----------
    sessions : sequence of Session
        The starts of the run before, from `session.earlier_sessions`.

    Communication
    -------------
    Local; keepers that still write are waited for, together no longer than `_ANSWER_SECONDS`. Who is of another user, does not know the
    secret or answers otherwise than a keeper does is as if it were not there.
    """
    asked = {}
    for session in sessions:
        for rank in range(session.size):
            if (line := _call(session, rank)) is not None:
                asked[line.fileno()] = line, session
    kept = []
    poll = select.poll()
    for number in asked:
        poll.register(number, select.POLLIN)
    deadline = time.monotonic() + _ANSWER_SECONDS
    while asked and (left := deadline - time.monotonic()) > 0:
        for number, _ in poll.poll(1000 * left):
            poll.unregister(number)
            line, session = asked.pop(number)
            if (one := _answer(line, session)) is not None:
                kept.append(one)
            else:
                line.close()
    for line, _ in asked.values():
        line.close()
    return kept


def _call(session: Session, rank: int) -> socket.socket | None:
    """Call a keeper; None where nobody of this user answers to its name."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    line.setblocking(False)
    try:
        line.connect(session.point(rank))
        if is_same_user(line):
            send(line, {"secret": session.secret})
            return line
    except OSError:
        pass
    line.close()
    return None


def _answer(line: socket.socket, session: Session) -> Kept | None:
    """What a keeper says that it holds."""
    with suppress(OSError, ValueError):
        if (received := receive(line)) is None:
            return None
        offer, files = received
        try:
            if offer["secret"] == session.secret:
                return _kept(offer, files, line)
        except (KeyError, TypeError, ValueError, IndexError, CheckpointError):  # of another version of hpcml
            pass
        for file in files:
            os.close(file)
    return None


def _kept(offer: dict[str, Any], files: list[int], line: socket.socket) -> Kept:
    if len(files) != len(offer["headers"]) + ("parity" in offer):
        raise ValueError("not all of its memory came: too many files are open")
    copies = {(header["session"], header["sequence"]): (header, fd) for header, fd in zip(offer["headers"], files, strict=False)}
    kept = Kept(offer["rank"], offer["size"], copies, line=line)
    if "parity" in offer:
        fields = offer["parity"]["group"]
        kept.group = ParityGroup(tuple(fields["members"]), fields["losses"], fields["segment"])
        kept.member = offer["parity"]["member"]
        halves = enumerate(offer["parity"]["headers"])
        kept.parity = {(header["session"], header["sequence"]): half for half, header in halves if header is not None}
        kept.parity_memory = mmap.mmap(files[-1], 0, access=mmap.ACCESS_READ)
        os.close(files[-1])
    return kept
