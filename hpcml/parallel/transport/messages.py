"""Messages by MPI: persistent requests over memory that MPI may read.

mpi       the buffers themselves, on the host, or on a GPU where MPI is GPU-aware
staged    buffers on a GPU, copied to and from pinned memory of the host
one-shot  pinned memory of the host that kernels on the GPU write and read directly
"""

import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.mpi import waited
from hpcml.parallel.transport.watch import Watch

POLLS = 300
"""Tests before the core is offered to others: some 100 us."""
WORD = 8
"""Bytes of the number of a call."""
LOOK_S = 0.05
"""Between two looks after neighbors that have not come."""


class MessageTransport:
    """Exchange with any neighbors by MPI.

    Parameters
    ----------
    comm : MPI.Intracomm
        Ranks are counted in it.
    send, recv : mapping of int to int
        Bytes for each peer, those from each peer.
    device : torch.device
        Where kernels pack and unpack.
    way : str
        ``mpi``, ``staged`` or ``one-shot``.
    tags : mapping of int to (int, int)
        Of the messages from each peer and to it.
    watch : Watch
        Looks after the neighbors.

    Attributes
    ----------
    send, recv : tuple of one dict of int to array
        Buffers of every step: tensors, or CuPy arrays over pinned memory.

    Communication
    -------------
    Neighbors, one message per peer. On a GPU an event is waited for, not the device, before MPI sees what a stream has written.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        send: Mapping[int, int],
        recv: Mapping[int, int],
        device: torch.device,
        way: str,
        tags: Mapping[int, tuple[int, int]],
        watch: Watch,
    ) -> None:
        self.way, self._watch, self._staged = way, watch, way == "staged"
        whole = [{peer: _wire(size, device, way) for peer, size in sizes.items()} for sizes in (send, recv)]
        self._wires = [
            {peer: wire[: sizes[peer]] for peer, wire in wires.items()} for wires, sizes in zip(whole, (send, recv), strict=True)
        ]
        self._signs = [{peer: _sign(wire) for peer, wire in wires.items() if wire.device.type == "cpu"} for wires in whole]
        ends = [{peer: _end(wire, device, way) for peer, wire in wires.items()} for wires in self._wires]
        self.send: tuple[dict[int, Any], ...] = (ends[0],)
        self.recv: tuple[dict[int, Any], ...] = (ends[1],)
        self._event = torch.cuda.Event() if device.type == "cuda" else None
        self._peers, self._num_receives = [*recv, *send], len(recv)
        receives = [comm.Recv_init([_visible(wire), MPI.BYTE], peer, tags[peer][0]) for peer, wire in whole[1].items()]
        sends = [comm.Send_init([_visible(wire), MPI.BYTE], peer, tags[peer][1]) for peer, wire in whole[0].items()]
        self._requests: list[MPI.Prequest] = [*receives, *sends]

    def sign(self, step: int, number: int) -> None:
        """Write the number of a call behind each message; messages from a GPU's own memory have none."""
        for place in self._signs[0].values():
            place[0] = number

    def signed(self, step: int) -> dict[int, int]:
        """Numbers behind what has arrived, by peer."""
        return {peer: int(place[0]) for peer, place in self._signs[1].items()}

    def start(self, step: int) -> None:
        """Hand the packed buffers over."""
        if self._staged:
            for peer, wire in self._wires[0].items():
                wire.copy_(self.send[0][peer], non_blocking=True)
        if self._event is not None:
            self._event.record()
            self._event.synchronize()
        MPI.Prequest.Startall(self._requests)

    def wait(self, step: int) -> None:
        """Return when all buffers have arrived and all sent ones may be packed again.

        Raises
        ------
        CommunicationError
            If a neighbor on this machine has ended, or one has been waited for too long.
        """
        for _ in range(POLLS):
            if MPI.Request.Testall(self._requests):
                break
        else:
            queued, start = waited.queued(), time.monotonic()
            try:
                self._wait_long(start)
            finally:
                waited.count(start, queued)
        if self._staged:
            for peer, wire in self._wires[1].items():
                self.recv[0][peer].copy_(wire, non_blocking=True)

    def complete_by(self, step: int, deadline: float) -> bool:
        """Wait no longer than until a deadline; tell whether all is done. What is not is given up."""
        while not MPI.Request.Testall(self._requests):
            if time.monotonic() > deadline:
                receives = self._requests[: self._num_receives]
                for request in receives:
                    request.Cancel()
                MPI.Request.Waitall(receives)
                return False
            time.sleep(1e-4)
        return True

    def close(self) -> None:
        """Free the requests."""
        for request in self._requests:
            request.Free()
        self._requests = []

    def _wait_long(self, start: float) -> None:
        look = start
        while not MPI.Request.Testall(self._requests):
            now = time.monotonic()
            if now - start < LOOK_S:
                os.sched_yield()
            else:
                time.sleep(1e-4)
            if now - look > LOOK_S:
                look = now
                late = {peer for peer, request in zip(self._peers, self._requests, strict=True) if not request.Get_status()}
                reasons = [reason for peer in sorted(late) if (reason := self._watch.reason(peer, start))]
                if reasons and not MPI.Request.Testall(self._requests):
                    raise reasons[0]


def _wire(size: int, device: torch.device, way: str) -> Tensor:
    """Memory that MPI reads or writes: a message and, on the host, room for the number of a call."""
    if way == "mpi" and device.type != "cpu":
        return torch.empty(size, dtype=torch.uint8, device=device)
    return torch.zeros(-(-size // WORD) * WORD + WORD, dtype=torch.uint8, pin_memory=device.type == "cuda")


def _sign(wire: Tensor) -> np.ndarray:
    return wire[-WORD:].numpy().view(np.int64)


def _end(wire: Tensor, device: torch.device, way: str) -> Any:
    """Memory that kernels write or read."""
    if way == "staged":
        return torch.empty_like(wire, device=device, pin_memory=False)
    if way == "mpi" or device.type == "cpu":
        return wire
    import cupy

    memory = cupy.cuda.UnownedMemory(wire.data_ptr(), wire.nbytes, wire, device.index or 0)  # one address space for host and device
    return cupy.ndarray((wire.nbytes,), dtype=cupy.uint8, memptr=cupy.cuda.MemoryPointer(memory, 0))


def _visible(wire: Tensor) -> Any:
    """What mpi4py reads once to learn the address."""
    return wire.numpy() if wire.device.type == "cpu" else wire
