"""One contiguous buffer to and from each peer: the only place where hpcml sends point to point.

A plan (halo, repartition, graph ghosts, stream) packs into ``send``, starts, computes, waits and unpacks from ``recv``. It knows
nothing of how the bytes travel, and an exchange knows nothing of grids.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import torch
from mpi4py import MPI

from hpcml.core.errors import CommunicationError, DeviceError

GIVE_UP_S = 1.0
"""How long an interrupted exchange waits for its peers: far above a message's time, far below the five seconds a job may take to end."""


@dataclass(slots=True)
class Traffic:
    """What this process has sent point to point since its start, or since `reset`."""

    messages: int = 0
    bytes: int = 0

    def reset(self) -> None:
        """Start counting again."""
        self.messages = self.bytes = 0


traffic = Traffic()


class Exchange:
    """Persistent messages between fixed buffers.

    Parameters
    ----------
    comm : MPI.Intracomm
        Ranks are counted in it.
    send, recv : mapping of int to int
        Number of elements for each peer; peers with none may be left out. What one rank sends, the other must expect.
    dtype : torch.dtype
        Any; bytes are moved.
    device : torch.device
        Where the buffers lie.
    tag : int
        Tells plans in flight at the same time apart.

    Attributes
    ----------
    send, recv : dict of int to Tensor
        Flat contiguous buffer for each peer. Write ``send`` before `start`, read ``recv`` after `wait`.

    Raises
    ------
    DeviceError
        For a device whose memory this exchange cannot reach.
    CommunicationError
        If started while still in flight, or after it was closed.

    Communication
    -------------
    Neighbours; one message per peer, non-blocking between `start` and `wait`; deterministic. Nothing is allocated after construction.

    Notes
    -----
    As a context manager, or by `close`, the requests are completed or given up, and freed. An MPI library that finds pending requests over
    freed buffers when it finalises may crash.
    """

    def __init__(
        self, comm: MPI.Intracomm, send: Mapping[int, int], recv: Mapping[int, int], dtype: torch.dtype, device: torch.device, tag: int = 0
    ) -> None:
        if device.type != "cpu":
            raise DeviceError(f"this exchange moves host memory only, got a tensor on {device}: move the field to the CPU")
        self.send = {peer: torch.empty(n, dtype=dtype, device=device) for peer, n in sorted(send.items()) if n}
        self.recv = {peer: torch.empty(n, dtype=dtype, device=device) for peer, n in sorted(recv.items()) if n}
        receives = [comm.Recv_init([_as_bytes(buffer), MPI.BYTE], peer, tag) for peer, buffer in self.recv.items()]
        sends = [comm.Send_init([_as_bytes(buffer), MPI.BYTE], peer, tag) for peer, buffer in self.send.items()]
        self._requests: list[MPI.Prequest] = [*receives, *sends]
        self._bytes = sum(buffer.nbytes for buffer in self.send.values())
        self._in_flight = self._closed = False

    def start(self) -> None:
        """Begin to move the buffers."""
        if self._in_flight:
            raise CommunicationError("an exchange was started again before it was waited for: call wait() first")
        if self._closed:
            raise CommunicationError("this exchange was closed, or given up after an error: make a new plan")
        traffic.messages += len(self.send)
        traffic.bytes += self._bytes
        self._in_flight = True
        if self._requests:
            MPI.Prequest.Startall(self._requests)

    def wait(self) -> None:
        """Return when every buffer has arrived and every sent one may be written again."""
        if self._in_flight and self._requests:
            MPI.Request.Waitall(self._requests)
        self._in_flight = False

    def cancel(self) -> None:
        """Come to rest because an exception unwinds: complete what the peers still take part in, give up the rest.

        If a peer does not answer within `GIVE_UP_S`, its data is lost and the exchange is closed.
        """
        deadline = time.monotonic() + GIVE_UP_S
        while self._in_flight and not MPI.Request.Testall(self._requests):
            if time.monotonic() > deadline:
                receives = self._requests[: len(self.recv)]
                for request in receives:
                    request.Cancel()
                MPI.Request.Waitall(receives)
                self._in_flight = False
                self.close()
                return
            time.sleep(1e-4)
        self._in_flight = False

    def close(self) -> None:
        """Free the requests; the exchange cannot be started again."""
        self.cancel()
        for request in self._requests:
            request.Free()
        self._requests = []
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _as_bytes(buffer: torch.Tensor) -> np.ndarray:
    return buffer.view(torch.uint8).numpy()
