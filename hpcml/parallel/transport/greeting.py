"""Two ranks find out how they reach each other."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from mpi4py import MPI

from hpcml.parallel.transport.ipc import DeviceOffer
from hpcml.parallel.transport.process import Process
from hpcml.parallel.transport.segment import Handle, Segment

TAGS = 1 << 14
"""Between the tag of an exchange and that of its greeting: what was sent and given up must not be taken for one."""


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
    """

    process: Process
    segment: Handle | None = None
    starts: tuple[int, int] = (0, 0)
    device: DeviceOffer | None = None


def greet(comm: MPI.Intracomm, tag: int, offers: Mapping[int, Offer]) -> tuple[dict[int, Offer], dict[int, Segment]]:
    """Tell every peer one's offer and hear theirs.

    Parameters
    ----------
    comm : MPI.Intracomm
        Ranks are counted in it.
    tag : int
        Of the exchange.
    offers : mapping of int to Offer
        For each peer, which must greet too.

    Returns
    -------
    theirs : dict of int to Offer
        By peer.
    shared : dict of int to Segment
        Memory of those peers that have opened this rank's, as this rank has theirs.

    Communication
    -------------
    Neighbors: two small messages to and from each.
    """
    tag += TAGS
    pending = [comm.isend(offer, peer, tag) for peer, offer in offers.items()]
    theirs: dict[int, Offer] = {peer: comm.recv(source=peer, tag=tag) for peer in offers}
    MPI.Request.waitall(pending)
    opened = {peer: segment for peer, offer in theirs.items() if offers[peer].segment and (segment := _open(offer)) is not None}
    pending = [comm.isend(peer in opened, peer, tag) for peer in offers]
    confirmed = {peer: comm.recv(source=peer, tag=tag) for peer in offers}
    MPI.Request.waitall(pending)
    return theirs, {peer: segment for peer, segment in opened.items() if confirmed[peer]}


def _open(offer: Offer) -> Segment | None:
    if offer.segment is not None:
        with suppress(OSError):  # it is on another node, in a container with processes of its own, or not to be looked into
            return Segment.of_other(offer.process, offer.segment)
    return None
