"""Two ranks find out how they reach each other."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mpi4py import MPI

from hpcml.core.errors import CommunicationError
from hpcml.mpi.call import current_call
from hpcml.mpi.message_tags import GREETING
from hpcml.mpi.patience import give_up, wait
from hpcml.parallel.transport.ipc import DeviceOffer
from hpcml.parallel.transport.process import Process
from hpcml.parallel.transport.segment import Handle, Segment


@dataclass(frozen=True, slots=True)
class Offer:
    """What one rank tells another before their first exchange.

    Attributes
    ----------
    process : Process
        Who it is.
    segment : Handle, optional
        What opens the memory that it would share.
    starts : (int, int)
        First byte in it, or in that of the GPU, of both halves of the buffer for the other.
    device : DeviceOffer, optional
        What opens memory of its GPU.
    call : str
        What it is about to exchange, and in which layer or function: the same for both.
    sizes : (int, int)
        Bytes that it sends to the other, and that it expects.
    place : str
        The caller's line, for errors.
    tag : int
        Of the messages that it expects.
    """

    process: Process
    segment: Handle | None = None
    starts: tuple[int, int] = (0, 0)
    device: DeviceOffer | None = None
    call: str = ""
    sizes: tuple[int, int] = (0, 0)
    place: str = ""
    tag: int = 0


def greet(comm: MPI.Intracomm, offers: Mapping[int, Offer]) -> tuple[dict[int, Offer], dict[int, Segment]]:
    """Tell every peer one's offer and hear theirs.

    Parameters
    ----------
    comm : MPI.Intracomm
        Ranks are counted in it.
    offers : mapping of int to Offer
        For each peer, which must greet too, of the same call.

    Returns
    -------
    theirs : dict of int to Offer
        By peer.
    shared : dict of int to Segment
        Memory of those peers that have opened this rank's, as this rank has theirs.

    Raises
    ------
    CommunicationError
        If a peer is about to exchange something else, on both; if one does not come, see `hpcml.mpi.patience`.

    Communication
    -------------
    Neighbors: two small messages to and from each.
    """
    theirs: dict[int, Offer] = _swap(comm, offers, offers)
    for peer, offer in theirs.items():
        if offer.call != offers[peer].call or offer.sizes != offers[peer].sizes[::-1]:
            raise _disagreement(comm.rank, offers[peer], peer, offer)
    opened = {peer: segment for peer, offer in theirs.items() if offers[peer].segment and (segment := _open(offer)) is not None}
    confirmed: dict[int, bool] = _swap(comm, {peer: peer in opened for peer in offers}, offers)
    return theirs, {peer: segment for peer, segment in opened.items() if confirmed[peer]}


def _swap(comm: MPI.Intracomm, messages: Mapping[int, Any], offers: Mapping[int, Offer]) -> dict[int, Any]:
    """A message to each peer and from each, in the order of the peers."""
    pending = [comm.isend(message, peer, GREETING) for peer, message in messages.items()]
    heard: dict[int, Any] = {}

    def done() -> bool:
        for peer in messages:
            if peer not in heard and (message := comm.improbe(source=peer, tag=GREETING)) is not None:
                heard[peer] = message.recv()
        return len(heard) == len(messages) and bool(MPI.Request.Testall(pending))

    try:
        what = f"the first {next(iter(offers.values())).call}" if offers else ""
        wait(done, lambda: what, comm, lambda: [peer for peer in messages if peer not in heard])
    except BaseException:
        give_up(pending)
        raise
    return {peer: heard[peer] for peer in messages}


def _disagreement(rank: int, mine: Offer, peer: int, theirs: Offer) -> CommunicationError:
    said = [f"rank {r} in {o.call}, {o.sizes[0]} bytes out and {o.sizes[1]} back{o.place}" for r, o in ((rank, mine), (peer, theirs))]
    return CommunicationError(
        f"ranks disagree about what they exchange: {'; '.join(said)}. See that all ranks make the same calls in one order, with tensors of "
        "one dtype and of the same batch and channels"
    )


def describe_call(what: str) -> str:
    """An exchange and the layer or function that it belongs to.

    Communication
    -------------
    Local.
    """
    return f"{name}: {what}" if (name := current_call()) else what


def _open(offer: Offer) -> Segment | None:
    if offer.segment is not None:
        with suppress(OSError):  # it is on another node, in a container with processes of its own, or not to be looked into
            return Segment.of_other(offer.process, offer.segment)
    return None
