"""Messages between ranks of one node that nobody carries: the receiver reads where the sender has packed.

Step k packs into half k mod 2 of the sender's memory and raises the sender's flag to k; the receiver waits for that flag and unpacks
straight from there. Half k mod 2 is packed again in step k + 2, after step k + 1 has seen every neighbor's flag at k + 1, which a neighbor
raises only when it has unpacked step k. So one flag per rank is all the synchronisation there is.
"""

import ctypes
import time
from collections.abc import Mapping

import torch

from hpcml.parallel.transport.moves import Moves, may_spin
from hpcml.parallel.transport.segment import Segment
from hpcml.parallel.transport.watch import Watch

READY, SIGN, CLOSED, HEADER = 0, 8, 64, 128
"""Bytes of the flag, of the numbers of the calls of even and odd steps beside it, of the mark of an owner that has left, and of all."""
LINE = 64


def segment_layout(sizes: Mapping[int, int]) -> tuple[dict[int, tuple[int, int]], int]:
    """First byte of both halves of each peer's buffer in a segment, and the size of the segment, from the buffers' bytes."""
    half, offsets = 0, {}
    for peer, size in sizes.items():
        offsets[peer] = half
        half += -(-size // LINE) * LINE
    return {peer: (HEADER + offset, HEADER + half + offset) for peer, offset in offsets.items()}, HEADER + 2 * half


class SharedTransport:
    """Exchange with neighbors of this node through shared memory.

    Parameters
    ----------
    memory : Segment
        This rank's own, laid out by `segment_layout`.
    send : mapping of int to (int, int, int)
        For each peer the first byte of both halves in ``memory``, and the size.
    neighbors : mapping of int to (Segment, (int, int), int)
        For each peer its memory, the first byte of both halves of what it sends here, and the size.
    watch : Watch
        Looks after the neighbors.

    Attributes
    ----------
    send, recv : pair of dict of int to Tensor
        Buffers of even and of odd steps.
    flags : dict of int to int
        Address of each peer's flag.
    ready : int
        Address of this rank's flag.

    Communication
    -------------
    Neighbors on this node. Waiting spins some microseconds, then yields the core, then sleeps between looks.
    """

    way = "shared"

    def __init__(
        self,
        memory: Segment,
        send: Mapping[int, tuple[int, int, int]],
        neighbors: Mapping[int, tuple[Segment, tuple[int, int], int]],
        watch: Watch,
    ) -> None:
        self.memory, self._neighbors, self._watch, self._step = memory, dict(neighbors), watch, 0
        halves = range(2)
        self.send = tuple(
            {peer: memory.bytes[starts[half] : starts[half] + size] for peer, (*starts, size) in send.items() if size} for half in halves
        )
        self.recv = tuple(
            {peer: theirs.bytes[begins[half] : begins[half] + size] for peer, (theirs, begins, size) in neighbors.items() if size}
            for half in halves
        )
        self.flags = {peer: theirs.bytes.data_ptr() + READY for peer, (theirs, *_) in neighbors.items()}
        self._sign = _signs(memory)
        self._signs = {peer: _signs(theirs) for peer, (theirs, *_) in neighbors.items()}
        self._owner = {flag: peer for peer, flag in self.flags.items()}
        self.ready = memory.bytes.data_ptr() + READY
        self.spin = may_spin(len(neighbors) + 1)
        self._tell = Moves([], self.ready)
        self._wait = Moves([(flag, None) for flag in self.flags.values()], spin=self.spin)

    def sign(self, step: int, number: int) -> None:
        """Write the number of the call that this step belongs to, to be read when the flag has come."""
        self._sign[step % 2] = number

    def signed(self, step: int) -> dict[int, int]:
        """Numbers that the neighbors have written; theirs stay until this rank has packed the next step."""
        return {peer: signs[step % 2] for peer, signs in self._signs.items()}

    def start(self, step: int, pack: Moves | None = None) -> None:
        """Tell the neighbors that this rank has packed, after it has: ``pack`` raises the flag too."""
        self._step = step
        (pack or self._tell)(step, self.watch)

    def wait(self, step: int, unpack: Moves | None = None) -> None:
        """Return when all neighbors have packed: ``unpack`` waits for each flag too.

        Raises
        ------
        CommunicationError
            What `watch` raises.
        """
        (unpack or self._wait)(step, self.watch)

    def complete_by(self, step: int, deadline: float) -> bool:
        """Wait no longer than until a deadline; tell whether all neighbors have packed."""
        while not all(_number(theirs, READY) >= step for theirs, *_ in self._neighbors.values()):
            if time.monotonic() > deadline:
                return False
            time.sleep(1e-4)
        return True

    def look_after(self, step: int, moves: Moves, late: int) -> int:
        """Go on with moves that found a flag not raised; gives what they give, and raises as `wait` does."""
        self._step = step
        return moves.wait_long(late, self.watch)

    def watch(self, flag: int, since: float) -> None:
        """Look after the neighbor whose flag has not come ``since`` a time.

        Raises
        ------
        CommunicationError
            If it has left, has ended or has been waited for too long.
        """
        peer = self._owner[flag]
        theirs = self._neighbors[peer][0]
        reason = self._watch.reason(peer, since, bool(_number(theirs, CLOSED)))
        if reason is not None and _number(theirs, READY) < self._step:  # it may have left after it packed
            raise reason

    def is_alone(self) -> bool:
        """Whether all neighbors have left."""
        return all(_number(theirs, CLOSED) for theirs, *_ in self._neighbors.values())

    def close(self) -> None:
        """Leave; neighbors that still read this rank's memory keep it."""
        self.memory.bytes[CLOSED] = 1


def _signs(segment: Segment) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * 2).from_address(segment.bytes.data_ptr() + SIGN)


def _number(segment: Segment, at: int) -> int:
    return int(segment.bytes[at : at + 8].view(torch.int64).item())
