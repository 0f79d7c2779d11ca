"""Messages between GPUs of one node that nobody carries: the receiver's kernels read where the sender's have packed.

The protocol is that of `hpcml.parallel.transport.shared`, whose flags say here that an event was recorded behind the pack of a step: a
stream that is to wait for an event of another process must be told so after the event was recorded. Half k mod 2 is packed again in step
k + 2, in a stream that has waited for every neighbor's event of step k + 1, which the neighbor has recorded behind its unpack of step k.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hpcml.core.errors import DeviceError
from hpcml.kernels.arguments import as_tensor
from hpcml.parallel.transport.shared import SharedTransport

_LEFT: list[tuple["DeviceMemory", SharedTransport]] = []
"""Memory of closed exchanges that neighbors may still read."""


@dataclass(frozen=True, slots=True)
class DeviceOffer:
    """What opens one rank's device memory, and its two events, in another process."""

    memory: bytes
    events: tuple[bytes, bytes]


class DeviceMemory:
    """Memory of a GPU that other processes of this node may read, and an event for either half of it.

    Parameters
    ----------
    nbytes : int
        Size.
    device : torch.device
        The GPU.

    Attributes
    ----------
    address : int
        First byte.
    events : list of torch.cuda.Event
        For even and for odd steps.
    offer : DeviceOffer
        For the neighbors.
    """

    def __init__(self, nbytes: int, device: torch.device) -> None:
        from cupy.cuda import runtime

        with torch.cuda.device(device):
            self.address = runtime.malloc(nbytes)  # no part of a pool: a handle stands for a whole allocation
            self.events = [torch.cuda.Event(interprocess=True) for _ in range(2)]
            even, odd = (event.ipc_handle() for event in self.events)
            self.offer = DeviceOffer(runtime.ipcGetMemHandle(self.address), (even, odd))

    def free(self) -> None:
        """Give the memory back."""
        from cupy.cuda import runtime

        runtime.free(self.address)


class IpcTransport:
    """Exchange between GPUs of one node through memory that both map.

    Parameters
    ----------
    flags : SharedTransport
        With the neighbors' flags, and without buffers.
    memory : DeviceMemory
        This rank's own, laid out by `hpcml.parallel.transport.shared.segment_layout`.
    send : mapping of int to (int, int, int)
        For each peer the first byte of both halves in ``memory``, and the size.
    neighbors : mapping of int to (DeviceOffer, (int, int), int)
        For each peer what opens its memory, the first byte of both halves of what it sends here, and the size.
    device : torch.device
        This rank's GPU.

    Attributes
    ----------
    send, recv : pair of dict of int to Tensor
        Buffers of even and of odd steps.

    Raises
    ------
    DeviceError
        If a neighbor's memory cannot be opened here.

    Communication
    -------------
    Neighbors on this node. The host waits for flags, not for the GPU; streams wait for events.
    """

    way = "shared"

    def __init__(
        self,
        flags: SharedTransport,
        memory: DeviceMemory,
        send: Mapping[int, tuple[int, int, int]],
        neighbors: Mapping[int, tuple[DeviceOffer, tuple[int, int], int]],
        device: torch.device,
    ) -> None:
        self._flags, self._memory, self._device = flags, memory, device
        self._opened = {peer: _open(peer, offer, device) for peer, (offer, *_) in neighbors.items()}
        opened = torch.cuda.Event.from_ipc_handle
        self._events = {peer: [opened(device, event) for event in offer.events] for peer, (offer, *_) in neighbors.items()}
        self.send: tuple[dict[int, Any], ...] = tuple(
            {peer: _bytes(memory.address + starts[half], size, device) for peer, (*starts, size) in send.items() if size} for half in (0, 1)
        )
        self.recv: tuple[dict[int, Any], ...] = tuple(
            {peer: _bytes(self._opened[peer] + begins[half], size, device) for peer, (_, begins, size) in neighbors.items() if size}
            for half in (0, 1)
        )

    def sign(self, step: int, number: int) -> None:
        """As `SharedTransport.sign`, beside the flags."""
        self._flags.sign(step, number)

    def signed(self, step: int) -> dict[int, int]:
        """As `SharedTransport.signed`."""
        return self._flags.signed(step)

    def start(self, step: int) -> None:
        """Mark the end of the pack in the current stream, and tell the neighbors."""
        self._memory.events[step % 2].record(torch.cuda.current_stream(self._device))
        self._flags.start(step)

    def wait(self, step: int) -> None:
        """Return when all neighbors have marked theirs; the stream that unpacks waits for what they have marked."""
        self._flags.wait(step)
        stream = torch.cuda.current_stream(self._device)
        for events in self._events.values():
            stream.wait_event(events[step % 2])

    def complete_by(self, step: int, deadline: float) -> bool:
        """Wait no longer than until a deadline; tell whether all neighbors have packed."""
        if not self._flags.complete_by(step, deadline):
            return False
        while not all(events[step % 2].query() for events in self._events.values()):
            if time.monotonic() > deadline:
                return False
            time.sleep(1e-4)
        return True

    def close(self) -> None:
        """Leave; the memory is freed when all neighbors have left too, else at the end of the process."""
        from cupy.cuda import runtime

        torch.cuda.current_stream(self._device).synchronize()
        for address in self._opened.values():
            runtime.ipcCloseMemHandle(address)
        self._flags.close()
        _LEFT.append((self._memory, self._flags))
        for entry in [entry for entry in _LEFT if entry[1].is_alone()]:
            _LEFT.remove(entry)
            entry[0].free()


def _open(peer: int, offer: DeviceOffer, device: torch.device) -> int:
    from cupy.cuda import runtime

    try:
        with torch.cuda.device(device):
            return int(runtime.ipcOpenMemHandle(offer.memory))
    except runtime.CUDARuntimeError as error:
        remedy = "set HPCML_HALO_BACKEND=staged"
        raise DeviceError(f"the GPU memory of rank {peer}, on the same node, cannot be opened on {device} ({error}): {remedy}") from error


def _bytes(address: int, size: int, device: torch.device) -> Tensor:
    """A tensor over memory that torch has not allocated."""
    import cupy

    memory = cupy.cuda.UnownedMemory(address, size, None, device.index or 0)
    return as_tensor(cupy.ndarray((size,), dtype=cupy.uint8, memptr=cupy.cuda.MemoryPointer(memory, 0)))
