"""How states come to a trainer: receives that are posted before anything is sent, a few for every simulation that runs."""

from collections.abc import Sequence

import numpy as np
import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.online.message import END, Message
from hpcml.online.tags import Tag
from hpcml.parallel.layout import Layout
from hpcml.parallel.transfers import Box, transfers


class Lane:
    """States of the simulations of one group, one after the other, as this rank has cells of them.

    Attributes
    ----------
    group : int
        That simulates.
    ended : bool
        Whether nothing more comes.
    header : numpy.ndarray
        Of the state that is next, see `hpcml.online.message`; to be read once it `arrived`.

    Communication
    -------------
    Local: what was sent is taken.
    """

    def __init__(self, comm: MPI.Intracomm, group: int, incoming: dict[int, list[Box]], rings: dict[int, list[Message]]) -> None:
        self.group, self.ended = group, False
        self._boxes, self._rings, self._next = incoming, rings, 0
        self._slots = len(next(iter(rings.values())))
        self._requests = {
            peer: [comm.Recv_init([message.memory, MPI.BYTE], peer, Tag.STATE) for message in ring] for peer, ring in rings.items()
        }
        self._there = False
        for requests in self._requests.values():
            MPI.Prequest.Startall(requests)

    @property
    def senders(self) -> list[int]:
        """Ranks that send."""
        return list(self._rings)

    def arrived(self) -> bool:
        """Whether all cells of the next state are here."""
        if not self._there:
            self._there = not self.ended and all(requests[self._next].Test() for requests in self._requests.values())
        return self._there

    @property
    def header(self) -> np.ndarray:
        return next(iter(self._rings.values()))[self._next].header

    @property
    def parameters(self) -> np.ndarray:
        """Of the simulation of the next state."""
        return next(iter(self._rings.values()))[self._next].parameters

    def copy_to(self, state: Tensor) -> None:
        """Write the next state into (channel, *local_shape), on any device: one copy per sender and box."""
        for peer, boxes in self._boxes.items():
            for box, cells in zip(boxes, self._rings[peer][self._next].cells, strict=True):
                state[box.target].copy_(cells)

    def advance(self) -> None:
        """Let go of the next state, so that its place can be filled again; after the end nothing is received any more."""
        if self.header["kind"] == END:
            self.ended, self._there = True, False
            for requests in self._requests.values():
                for k, request in enumerate(requests):
                    if k != self._next:
                        request.Cancel()
                        request.Wait()
                    request.Free()
            return
        for requests in self._requests.values():
            requests[self._next].Start()
        self._next, self._there = (self._next + 1) % self._slots, False


def open_lanes(
    comm: MPI.Intracomm,
    sources: Sequence[Layout],
    target: Layout,
    channels: int,
    parameters: int,
    dtype: torch.dtype,
    slots: int,
) -> list[Lane]:
    """Begin to receive.

    Parameters
    ----------
    comm : MPI.Intracomm
        All ranks of both roles.
    sources : sequence of Layout
        Blocks of each group that simulates.
    target : Layout
        Blocks of this rank's group of trainers.
    channels, parameters, dtype, slots
        As `hpcml.online.outlet.Outlet` has them.

    Returns
    -------
    list of Lane
        One of each group.

    Communication
    -------------
    Local; memory is ``slots`` times what one state of every group has of cells here.
    """
    lanes = []
    for group, source in enumerate(sources):
        incoming, _ = transfers(source, target, ("zero",) * len(source.shape), comm.rank)
        rings = {peer: [Message(boxes, channels, parameters, dtype) for _ in range(slots)] for peer, boxes in incoming.items()}
        lanes.append(Lane(comm, group, incoming, rings))
    return lanes
