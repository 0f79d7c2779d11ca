"""Copies between the host and a GPU: through pinned memory, behind the work that the GPU has in its queue, waited for once.

On the CPU, and on any device whose memory is not CUDA's, they are plain copies or none at all.
"""

import logging
import mmap
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.mpi.gpu_aware import gpu_aware

_log = logging.getLogger(__name__)
_streams: dict[torch.device, torch.cuda.Stream] = {}


def to_device(device: torch.device, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors on a device; those that lie there are given as they are.

    Parameters
    ----------
    device : torch.device
        Where to.
    *tensors : Tensor
        Anywhere. From the host to a GPU neither waits: what computes with the copies next comes after them in the GPU's queue.

    Communication
    -------------
    Local.
    """
    to_gpu = device.type == "cuda"
    return tuple((t.pin_memory() if to_gpu and t.device.type == "cpu" else t).to(device, non_blocking=to_gpu) for t in tensors)


def to_host(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors on the host; those that lie there are given as they are. Copies from a GPU are under way together and waited for once.

    Communication
    -------------
    Local.
    """
    there = [torch.empty(t.shape, dtype=t.dtype, pin_memory=True) if t.is_cuda else t.cpu() for t in tensors]
    begin_copies((host, t) for host, t in zip(there, tensors, strict=True) if t.is_cuda)()
    return tuple(there)


def begin_copies(pairs: Iterable[tuple[Tensor, Tensor]]) -> Callable[[], None]:
    """Begin to copy tensors of GPUs to the host, in a stream of their own, so that later work does not wait for them.

    Parameters
    ----------
    pairs : iterable of (Tensor, Tensor)
        Target on the host, pinned if the copy shall not hold up the caller, and source on a GPU, which must not change before the end.

    Returns
    -------
    callable
        Returns when all targets are complete.

    Communication
    -------------
    Local.
    """
    held, events = list(pairs), []
    for device in dict.fromkeys(source.device for _, source in held):
        if device not in _streams:
            _streams[device] = torch.cuda.Stream(device)
        stream = _streams[device]
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for target, source in held:
                if source.device == device:
                    target.copy_(source, non_blocking=True)
            events.append(stream.record_event())

    def finish() -> None:
        for event in events:
            event.synchronize()
        held.clear()

    return finish


def pin(memory: mmap.mmap) -> Callable[[], None]:
    """Lock memory where it lies, so that copies from a GPU into it run beside the work of the CPU.

    Returns
    -------
    callable
        Lets it go again; to be called before the memory is given back.

    Communication
    -------------
    Local. Where the driver refuses, copies wait for the GPU, and give the same bytes.
    """
    place, runtime = np.frombuffer(memory, np.uint8), torch.cuda.cudart()
    address, nbytes = int(place.ctypes.data), place.nbytes
    status = runtime.cudaHostRegister(address, nbytes, 0)
    if status == runtime.cudaError.success:
        return lambda: runtime.cudaHostUnregister(address)
    _log.info("%.0f MiB for copies from the GPU could not be locked (CUDA's status %s): each copy waits", nbytes / 2**20, status)
    return lambda: None


class Wire:
    """The bytes of a tensor where MPI can reach them: its own, on the host and where MPI is GPU-aware, or a pinned copy.

    Parameters
    ----------
    tensor : Tensor
        Contiguous.

    Attributes
    ----------
    spec : list
        What mpi4py takes as a buffer.

    Communication
    -------------
    Local.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._bytes = tensor.view(-1).view(torch.uint8)
        direct = not tensor.is_cuda or gpu_aware()
        self._host = self._bytes if direct else to_host(self._bytes)[0]
        if tensor.is_cuda and direct:
            torch.cuda.current_stream(tensor.device).synchronize()  # MPI knows nothing of streams
        self.spec: list[Any] = [self._host if self._host.is_cuda else self._host.numpy(), MPI.BYTE]

    def land(self) -> None:
        """Bring what MPI has written to the tensor."""
        if self._host is not self._bytes:
            self._bytes.copy_(self._host)
