"""One contiguous buffer to and from each peer: what parts of fields travel by.

A plan (halo, repartition, graph ghosts, stream) packs into ``send``, starts, computes, waits and unpacks from ``recv``. It knows
nothing of how the bytes travel, and an exchange knows nothing of grids.
"""

import ctypes
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import torch
from mpi4py import MPI

from hpcml.core.errors import CommunicationError, DeviceError
from hpcml.mpi.call import call_number, call_of, compared_call, user_line
from hpcml.parallel.transport.connect import Transport, connect
from hpcml.parallel.transport.datatypes import DatatypeTransport
from hpcml.parallel.transport.moves import CLOSED, IDLE, IN_FLIGHT, NO_CALL, REFUSED, Moves, State, Turns
from hpcml.parallel.transport.shared import SharedTransport

GIVE_UP_S = 1.0
"""How long an interrupted exchange waits for its peers: far above a message's time, far below the five seconds a job may take to end."""


class Traffic:
    """What this process has sent point to point since its start, or since `reset`."""

    def __init__(self) -> None:
        self._counts = (ctypes.c_int64 * 2)()
        self.address = ctypes.addressof(self._counts)

    @property
    def messages(self) -> int:
        """Their number."""
        return self._counts[0]

    @property
    def bytes(self) -> int:
        """What they held."""
        return self._counts[1]

    def count(self, messages: int, nbytes: int) -> None:
        """Add to both."""
        self._counts[0] += messages
        self._counts[1] += nbytes

    def reset(self) -> None:
        """Start counting again."""
        self._counts[:] = [0, 0]


traffic = Traffic()


@dataclass(frozen=True, slots=True)
class Buffers:
    """Flat contiguous buffer for each peer and from each peer."""

    send: dict[int, Any] = field(default_factory=dict)
    recv: dict[int, Any] = field(default_factory=dict)


class Exchange:
    """Messages between fixed buffers, again and again.

    Parameters
    ----------
    comm : MPI.Intracomm
        Ranks are counted in it.
    send, recv : mapping of int to int
        Number of elements for each peer; peers with none may be left out. What one rank sends, the other must expect. A rank may be its
        own peer: what it sends is then what it receives, in the same memory.
    dtype : torch.dtype
        Any; bytes are moved.
    device : torch.device
        Where the buffers lie.
    tag : int
        Number of the plan, the same on both sides.
    backend : str, optional
        One of `hpcml.parallel.transport.choice.BACKENDS`, the same on all ranks; by default chosen for each pair of ranks.
    in_place : bool
        Whether the caller can describe the messages in its fields to ``in_place`` below, for peers that then have no buffers.
    what : str
        Is exchanged, in words, the same on both sides: what differs is an error on both.
    shared_by_calls : bool
        Whether several layers use this exchange: then each message bears the number of its call, and of two calls that differ none gets
        the other's.

    Attributes
    ----------
    halves : tuple of Buffers
        One set of buffers, or two that are used in turn where ranks share memory.
    half : int
        Which of them the exchange that is in flight, or else the next one, uses: write ``halves[half].send`` before `start`, read
        ``recv`` of the same after `wait`.
    in_place : DatatypeTransport or None
        Reaches those peers.
    routes : dict of int to str
        Back end for each peer.

    Raises
    ------
    DeviceError
        For a device whose memory no back end can reach.
    CommunicationError
        If the peers exchange something else; if started while still in flight, or after it was closed; if a neighbor has ended, left, or
        does not come.

    Communication
    -------------
    Construction: neighbors. Exchange: neighbors, one message per peer, non-blocking between `start` and `wait`; deterministic. Nothing is
    allocated after construction.

    Notes
    -----
    As a context manager, or by `close`, requests are completed or given up, and freed. An MPI library that finds pending requests over
    freed buffers when it finalises may crash.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        send: Mapping[int, int],
        recv: Mapping[int, int],
        dtype: torch.dtype,
        device: torch.device,
        tag: int = 0,
        backend: str | None = None,
        in_place: bool = False,
        what: str = "exchange",
        shared_by_calls: bool = False,
    ) -> None:
        if device.type not in ("cpu", "cuda") and {*send, *recv} > {comm.rank}:
            raise DeviceError(f"an exchange moves memory of the host or of a GPU, got a tensor on {device}: move the field to the CPU")
        self.rank = comm.rank
        sizes = [{peer: n * dtype.itemsize for peer, n in sorted(counts.items()) if n} for counts in (send, recv)]
        own = torch.empty(sizes[0].pop(self.rank, 0), dtype=torch.uint8, device=device)
        sizes[1].pop(self.rank, None)
        self._transports: list[Transport]
        self._transports, self._free = connect(comm, sizes[0], sizes[1], device, f"{what}, plan {tag}", backend, in_place)
        self.shared = next((t for t in self._transports if isinstance(t, SharedTransport)), None)
        self.in_place = next((t for t in self._transports if isinstance(t, DatatypeTransport)), None)
        self._others = [t for t in self._transports if t is not self.shared]
        self.routes = {peer: t.way for t in self._transports for peer in {**t.send[0], **t.recv[0]}}
        self.routes |= dict.fromkeys(self.in_place.peers, self.in_place.way) if self.in_place else {}
        self.halves = tuple(self._buffers(half, own, dtype) for half in range(max((len(t.send) for t in self._transports), default=1)))
        self._state = State(call=NO_CALL, messages=len(sizes[0]), nbytes=sum(sizes[0].values()), traffic=traffic.address)
        self._compares = shared_by_calls

    @property
    def half(self) -> int:
        """See the class."""
        return (self._state.step + (self._state.status != IN_FLIGHT)) % len(self.halves)

    def start(self, packs: Sequence[Moves] | None = None) -> None:
        """Begin to move the buffers.

        Parameters
        ----------
        packs : sequence of Moves, optional
            For each half, what packs its buffers first, and raises this rank's flag; by default they are packed already.
        """
        step = self._set_out()
        pack = packs[step % len(self.halves)] if packs else None
        if self.shared is not None:
            self.shared.start(step, pack)
        elif pack is not None:
            pack(step)
        for transport in self._others:
            transport.start(step)

    def wait(self, unpacks: Sequence[Moves] | None = None) -> None:
        """Return when every buffer has arrived and every sent one may be written again.

        Parameters
        ----------
        unpacks : sequence of Moves, optional
            For each half, what waits for the flags of the neighbors in shared memory, and unpacks; by default that is left to the caller.
        """
        if self._state.status != IN_FLIGHT:
            return
        step = self._state.step
        unpack = unpacks[step % len(self.halves)] if unpacks else None
        try:
            for transport in self._others:
                transport.wait(step)
            if self.shared is not None:
                self.shared.wait(step, unpack)
            elif unpack is not None:
                unpack(step)
            if self._compares:
                self._check_calls()
        except BaseException:
            self.cancel()
            raise
        self._state.status = IDLE

    @property
    def is_shared(self) -> bool:
        """Whether all peers are reached through shared memory, so that one call of C can do a whole exchange."""
        return not self._others

    def turns(self, whole: Sequence[Moves]) -> Turns:
        """What `run` runs, where `is_shared`; for each half of the buffers, native moves that do all of it."""
        return Turns(self._state, whole)

    def run(self, turns: Turns) -> None:
        """`start` and `wait` in one."""
        if self._compares:
            self._state.call = call_number(compared_call())
        try:
            left = turns.run(turns.address)
        except BaseException:
            self.cancel()
            raise
        if left:
            self.end(turns, left)

    def end(self, turns: Turns, left: int) -> None:
        """Come to the end of a turn that gave something else than 0."""
        if left == REFUSED:
            raise self._refusal()  # what is in flight stays in flight
        try:
            if left > 0 and self.shared is not None:
                left = self.shared.look_after(self._state.step, turns.moves, left)
            if left:
                self._check_calls()
        except BaseException:
            self.cancel()
            raise
        self._state.status = IDLE

    def cancel(self) -> None:
        """Come to rest because an exception unwinds: complete what the peers still take part in, give up the rest.

        If a peer does not answer within `GIVE_UP_S`, its data is lost and the exchange is closed.
        """
        if self._state.status == IN_FLIGHT:
            deadline = time.monotonic() + GIVE_UP_S
            done = [transport.complete_by(self._state.step, deadline) for transport in self._transports]
            self._state.status = IDLE
            if not all(done):
                self.close()

    def close(self) -> None:
        """Free the requests, leave the shared memory; the exchange cannot be started again."""
        self.cancel()
        if self._state.status != CLOSED:
            self._state.status = CLOSED
            for transport in self._transports:
                transport.close()
            self._free()

    def _set_out(self) -> int:
        """Number of the step that begins; what it sends bears the number of the call, if calls are compared."""
        state = self._state
        if state.status != IDLE:
            raise self._refusal()
        traffic.count(state.messages, state.nbytes)
        state.step += 1
        state.status = IN_FLIGHT
        if self._compares:
            state.call = call_number(compared_call())
            for transport in self._transports:
                transport.sign(state.step, state.call)
        return state.step

    def _refusal(self) -> CommunicationError:
        if self._state.status == IN_FLIGHT:
            return CommunicationError("an exchange was started again before it was waited for: call wait() first")
        return CommunicationError("this exchange was closed, or given up after an error: make a new plan")

    def _check_calls(self) -> None:
        for transport in self._transports:
            for peer, number in transport.signed(self._state.step).items():
                if number != self._state.call:
                    mine, theirs = (call_of(known) or "no layer" for known in (self._state.call, number))
                    raise CommunicationError(
                        f"ranks disagree about what they exchange: rank {self.rank} is in {mine}{user_line()}, rank {peer} in {theirs}. "
                        "See that all ranks make the same calls in one order"
                    )

    def _buffers(self, half: int, own: torch.Tensor, dtype: torch.dtype) -> Buffers:
        buffers = Buffers()
        for transport in self._transports:
            for ends, kept in ((transport.send, buffers.send), (transport.recv, buffers.recv)):
                kept.update({peer: end if dtype == torch.uint8 else end.view(dtype) for peer, end in ends[half % len(ends)].items()})
        if own.nbytes:
            buffers.send[self.rank] = buffers.recv[self.rank] = own.view(dtype)
        return Buffers(dict(sorted(buffers.send.items())), dict(sorted(buffers.recv.items())))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
