"""Messages by NCCL, in the order of the stream that packs and unpacks: the host waits for nothing."""

import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from mpi4py import MPI

from hpcml.core.errors import DeviceError


class NcclTransport:
    """Exchange with any neighbors by NCCL, point to point.

    Parameters
    ----------
    comm : MPI.Intracomm
        Ranks are counted in it; each has a GPU of its own.
    send, recv : mapping of int to int
        Bytes for each peer, those from each peer.
    device : torch.device
        The GPU.

    Raises
    ------
    DeviceError
        On every rank, where two share a GPU, which NCCL refuses.

    Attributes
    ----------
    send, recv : tuple of one dict of int to Tensor
        Buffers of every step.

    Communication
    -------------
    Construction: collective over comm where it is the first for this comm. Exchange: neighbors, all messages of a rank in one group.
    """

    way = "nccl"

    def __init__(self, comm: MPI.Intracomm, send: Mapping[int, int], recv: Mapping[int, int], device: torch.device) -> None:
        self._nccl = _communicator(comm, device)
        self._device = device
        self.send: tuple[dict[int, Any], ...] = (
            {peer: torch.empty(size, dtype=torch.uint8, device=device) for peer, size in send.items()},
        )
        self.recv: tuple[dict[int, Any], ...] = (
            {peer: torch.empty(size, dtype=torch.uint8, device=device) for peer, size in recv.items()},
        )
        self._event = torch.cuda.Event()

    def sign(self, step: int, number: int) -> None:
        """Nothing: the host sees no message."""

    def signed(self, step: int) -> dict[int, int]:
        """Nothing."""
        return {}

    def start(self, step: int) -> None:
        """Put the messages into the current stream, after the pack."""
        from cupy.cuda import nccl

        stream = torch.cuda.current_stream(self._device)
        nccl.groupStart()
        try:
            for peer, buffer in self.send[0].items():
                self._nccl.send(buffer.data_ptr(), buffer.nbytes, nccl.NCCL_UINT8, peer, stream.cuda_stream)
            for peer, buffer in self.recv[0].items():
                self._nccl.recv(buffer.data_ptr(), buffer.nbytes, nccl.NCCL_UINT8, peer, stream.cuda_stream)
        finally:
            nccl.groupEnd()
        self._event.record(stream)

    def wait(self, step: int) -> None:
        """Let the stream that unpacks wait for the messages."""
        torch.cuda.current_stream(self._device).wait_event(self._event)

    def complete_by(self, step: int, deadline: float) -> bool:
        """Wait no longer than until a deadline; tell whether all is done."""
        while not self._event.query():
            if time.monotonic() > deadline:
                self._nccl.abort()
                return False
            time.sleep(1e-4)
        return True

    def close(self) -> None:
        """Nothing to free: the communicator stays for other exchanges."""


@cache
def _key() -> int:
    return MPI.Comm.Create_keyval()


def _communicator(comm: MPI.Intracomm, device: torch.device) -> Any:
    """NCCL's counterpart of a communicator, made once and kept with it."""
    from cupy.cuda import Device, nccl

    known = comm.Get_attr(_key())
    if known is None:
        identity = comm.bcast(nccl.get_unique_id() if comm.rank == 0 else None, 0)
        gpus = comm.allgather(str(torch.cuda.get_device_properties(device).uuid))
        if len(set(gpus)) < len(gpus):
            first = next(rank for rank, gpu in enumerate(gpus) if gpus.count(gpu) > 1)
            second = gpus.index(gpus[first], first + 1)
            raise DeviceError(
                f"NCCL wants a GPU for each rank, and ranks {first} and {second} share {gpus[first]}: start no more ranks than there are "
                "GPUs, or ask for another back end (HPCML_HALO_BACKEND=auto)"
            )
        with Device(device.index or 0):
            known = nccl.NcclCommunicator(comm.size, identity, comm.rank)
        comm.Set_attr(_key(), known)
    return known
