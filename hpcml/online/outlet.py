"""How states leave a rank that simulates: cut for the trainers, and no more of them under way than these have room for."""

import time
from collections.abc import Sequence
from typing import cast

import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.mpi.patience import wait
from hpcml.online.message import END, STATE, Message
from hpcml.online.tags import Tag
from hpcml.parallel.layout import Layout
from hpcml.parallel.transfers import Box, transfers


class Outlet:
    """Sends a rank's block of each state to the trainers that have cells of it.

    Parameters
    ----------
    comm : MPI.Intracomm
        All ranks of both roles.
    source : Layout
        Blocks of the group that simulates.
    targets : sequence of Layout
        Blocks of each group of trainers.
    channels, parameters : int
        Of a state, and of a simulation.
    dtype : torch.dtype
        That cells travel in.
    slots : int
        Messages that may be under way to a trainer.

    Attributes
    ----------
    sent : int
        States that were sent.
    stalled : float
        Seconds spent in waiting for trainers.

    Communication
    -------------
    One message per trainer that shares cells, of these cells and 64 bytes and the parameters; nothing is gathered. A message leaves its
    slot only when the trainer has begun to receive it (synchronous mode), so that what is under way is bounded on both sides.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        source: Layout,
        targets: Sequence[Layout],
        channels: int,
        parameters: int,
        dtype: torch.dtype,
        slots: int,
    ) -> None:
        self.sent, self.stalled = 0, 0.0
        zero = ("zero",) * len(source.shape)
        self._ways: list[list[_Way]] = []
        for target in targets:
            _, outgoing = transfers(source, target, zero, comm.rank)
            self._ways.append(
                [
                    _Way(comm, peer, boxes, [Message(boxes, channels, parameters, dtype) for _ in range(slots)])
                    for peer, boxes in outgoing.items()
                ]
            )

    def send(self, group: int, simulation: int, step: int, parameters: Sequence[float], state: Tensor, finite: bool, busy: float) -> None:
        """Send this rank's block of a state, (channel, *local_shape), to a group of trainers; wait where they have no room.

        Raises
        ------
        CommunicationError
            If a trainer does not come for it, see `hpcml.mpi.patience`.
        """
        self.sent += 1
        for way in self._ways[group]:
            message = self._free_slot(way)
            message.header["simulation"], message.header["step"], message.header["kind"] = simulation, step, STATE
            message.header["finite"], message.header["busy"], message.header["stalled"] = finite, busy, self.stalled
            message.parameters[:] = parameters
            for box, cells in zip(way.boxes, message.cells, strict=True):
                cells.copy_(state[box.source])
            way.start()

    def end(self) -> None:
        """Tell all trainers that nothing more comes, once what is under way has arrived."""
        for way in (way for ways in self._ways for way in ways):
            message = self._free_slot(way)
            message.header["kind"] = END
            way.start()
            for _ in way.messages:
                self._free_slot(way)
                way.next = (way.next + 1) % len(way.messages)

    def close(self) -> None:
        """Free the requests, after `end`."""
        for way in (way for ways in self._ways for way in ways):
            for request in way.requests:
                request.Free()

    def _free_slot(self, way: "_Way") -> Message:
        request = way.requests[way.next]
        if not request.Test():
            start = time.monotonic()
            wait(request.Test, lambda: f"a state for rank {way.peer}, which trains", way.comm, lambda: [way.peer])
            self.stalled += time.monotonic() - start
        return way.messages[way.next]


class _Way:
    """To one trainer: messages in a ring, and their requests."""

    def __init__(self, comm: MPI.Intracomm, peer: int, boxes: list[Box], messages: list[Message]) -> None:
        self.comm, self.peer, self.boxes, self.messages, self.next = comm, peer, boxes, messages, 0
        made = [comm.Ssend_init([message.memory, MPI.BYTE], peer, Tag.STATE) for message in messages]
        self.requests = cast(list[MPI.Prequest], made)  # as persistent ones are, whatever mpi4py's stub says

    def start(self) -> None:
        self.requests[self.next].Start()
        self.next = (self.next + 1) % len(self.messages)
