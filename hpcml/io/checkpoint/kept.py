"""What the keepers of a run that has died still hold on this node."""

import mmap
import os
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcml.io.checkpoint.channel import meeting_point, receive, send
from hpcml.io.checkpoint.parity import ParityGroup

_ANSWER_SECONDS = 60.0  # a keeper may still be bringing its copies to disk


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


def visit_keepers(folder: Path) -> list[Kept]:
    """Ask the keepers that wait on this node for a restart of the run in a folder what they hold.

    Communication
    -------------
    Local; a keeper that still writes is waited for.
    """
    prefix = meeting_point(folder).replace("\0", "@")
    names = [line.split()[-1] for line in Path("/proc/net/unix").read_text(errors="replace").splitlines() if prefix in line]
    kept = []
    for name in names:
        line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        line.settimeout(_ANSWER_SECONDS)
        with suppress(OSError):
            line.connect("\0" + name[1:])
            if (answer := receive(line)) is not None:
                kept.append(_kept(*answer, line))
                continue
        line.close()
    return kept


def _kept(offer: dict[str, Any], files: list[int], line: socket.socket) -> Kept:
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
