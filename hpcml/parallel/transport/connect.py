"""The transports of an exchange: each pair of ranks by the best way that both can go."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import torch
from mpi4py import MPI

from hpcml.mpi.call import user_line
from hpcml.mpi.message_tags import MessageTags
from hpcml.mpi.process import Process
from hpcml.parallel.transport.choice import asked_backend, choose_backend
from hpcml.parallel.transport.datatypes import DatatypeTransport
from hpcml.parallel.transport.greeting import Offer, describe_call, greet
from hpcml.parallel.transport.ipc import DeviceMemory, IpcTransport
from hpcml.parallel.transport.messages import MessageTransport
from hpcml.parallel.transport.segment import Segment
from hpcml.parallel.transport.shared import HEADER, SharedTransport, segment_layout
from hpcml.parallel.transport.watch import Watch

Sizes = Mapping[int, int]


class Transport(Protocol):
    """Moves the buffers of some peers.

    Attributes
    ----------
    way : str
        Name of the back end.
    send, recv : tuple of dict of int to array
        Bytes for each peer and from each, one dict or two that are used in turn.
    """

    way: str
    send: tuple[dict[int, Any], ...]
    recv: tuple[dict[int, Any], ...]

    def sign(self, step: int, number: int) -> None:
        """Let what is handed over in this step bear the number of the call that it belongs to."""

    def signed(self, step: int) -> dict[int, int]:
        """Numbers that what has arrived in this step bears, by peer."""

    def start(self, step: int) -> None:
        """Hand over what was packed in this step."""

    def wait(self, step: int) -> None:
        """Return when all of it has arrived."""

    def complete_by(self, step: int, deadline: float) -> bool:
        """Wait until a deadline at most; tell whether all has arrived, and give up what has not."""

    def close(self) -> None:
        """Free what is held."""


def connect(
    comm: MPI.Intracomm, send: Sizes, recv: Sizes, device: torch.device, what: str, backend: str | None, in_place: bool
) -> tuple[list[Transport], Callable[[], None]]:
    """Make the transports of an exchange.

    Parameters
    ----------
    comm : MPI.Intracomm
        Ranks are counted in it.
    send, recv : mapping of int to int
        Bytes for each peer and from each.
    device : torch.device
        Where kernels pack and unpack.
    what : str
        Is exchanged: compared with what the peers are about to exchange.
    backend : str, optional
        As for `hpcml.parallel.exchange.Exchange`.
    in_place : bool
        Likewise.

    Returns
    -------
    transports : list of Transport
        Shared memory last.
    free : callable
        Frees what they have in common, when all are closed.

    Raises
    ------
    DeviceError
        On every rank, for NCCL where ranks share a GPU.

    Communication
    -------------
    Neighbors, as in `greet`; with NCCL, which only ``HPCML_HALO_BACKEND`` chooses, collective over comm.
    """
    asked = backend or asked_backend()
    transports: list[Transport] = []
    if device.type == "cuda" and asked == "nccl":
        from hpcml.parallel.transport.nccl import NcclTransport

        transports.append(NcclTransport(comm, send, recv, device))
    peers = sorted({*send, *recv})
    ways = {peer: choose_backend(max(send.get(peer, 0), recv.get(peer, 0)), device, asked, in_place) for peer in peers}
    starts, nbytes = segment_layout({peer: send.get(peer, 0) for peer, way in ways.items() if way == "shared"})
    on_gpu = DeviceMemory(nbytes, device) if starts and device.type == "cuda" else None
    nbytes = HEADER if on_gpu else nbytes
    memory = _own_memory(nbytes) if starts else None
    process = Process.own()
    opens = on_gpu.offer if on_gpu else None
    call, place = describe_call(what), user_line()
    all_tags = MessageTags.of(comm)
    tag = all_tags.take()
    offers = {peer: Offer(process, call=call, sizes=(send.get(peer, 0), recv.get(peer, 0)), place=place, tag=tag) for peer in peers}
    if memory is not None:
        offers |= {p: replace(offers[p], segment=memory.handle, starts=begin, device=opens) for p, begin in starts.items()}
    try:
        theirs, shared = greet(comm, offers)
    except BaseException:
        all_tags.free(tag)
        raise
    finally:
        if memory is not None:
            memory.shut()
    otherwise = "mpi" if device.type == "cpu" else "staged"
    ways = {peer: otherwise if way == "shared" and peer not in shared else way for peer, way in ways.items()}
    watch = Watch(comm, {peer: offer.process for peer, offer in theirs.items()}, what)
    tags = {peer: (tag, offer.tag) for peer, offer in theirs.items()}
    for way in ("mpi", "staged", "one-shot"):
        if chosen := [peer for peer in peers if ways[peer] == way]:
            transports.append(MessageTransport(comm, _of(send, chosen), _of(recv, chosen), device, way, tags, watch))
    if chosen := [peer for peer in peers if ways[peer] == "datatype"]:
        transports.append(DatatypeTransport(comm, chosen, tags, watch))
    if shared and memory is not None:
        transports.append(_shared(memory, on_gpu, {p: (*starts[p], send.get(p, 0)) for p in shared}, shared, theirs, recv, watch, device))
    return transports, partial(all_tags.free, tag)


def agree_on_nothing(comm: MPI.Intracomm, peers: Iterable[int], what: str) -> None:
    """See that the peers too have nothing for each other in what they are about to exchange, as fields without samples.

    Raises
    ------
    CommunicationError
        As `greet`: one that has something would wait for this rank.

    Communication
    -------------
    Neighbors, as in `greet`.
    """
    call, place, process = describe_call(what), user_line(), Process.own()
    greet(comm, {peer: Offer(process, call=call, place=place) for peer in peers})


def _shared(
    memory: Segment,
    on_gpu: DeviceMemory | None,
    mine: Mapping[int, tuple[int, int, int]],
    segments: Mapping[int, Segment],
    theirs: Mapping[int, Offer],
    recv: Sizes,
    watch: Watch,
    device: torch.device,
) -> Transport:
    """Through memory of the node, or of its GPUs with the flags in that of the node."""
    there = {peer: (theirs[peer].starts, 0 if on_gpu else recv.get(peer, 0)) for peer in segments}
    here = {peer: (even, odd, 0 if on_gpu else size) for peer, (even, odd, size) in mine.items()}
    flags = SharedTransport(memory, here, {peer: (segments[peer], *there[peer]) for peer in segments}, watch)
    if on_gpu is None:
        return flags
    neighbors = {peer: (offer, theirs[peer].starts, recv.get(peer, 0)) for peer in segments if (offer := theirs[peer].device)}
    return IpcTransport(flags, on_gpu, mine, neighbors, device)


def _own_memory(nbytes: int) -> Segment | None:
    try:
        return Segment.of_own(nbytes)
    except OSError:  # no room, or a system that does not give such memory
        return None


def _of(sizes: Sizes, peers: list[int]) -> dict[int, int]:
    return {peer: sizes[peer] for peer in peers if peer in sizes}
