"""Two ranks find out how they reach each other."""

import itertools
from collections.abc import Container, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from mpi4py import MPI

from hpcml.core.errors import CommunicationError, HpcmlError
from hpcml.mpi.call import current_call
from hpcml.mpi.message_tags import GREETING
from hpcml.mpi.patience import give_up, wait
from hpcml.mpi.process import Process
from hpcml.parallel.transport.ipc import DeviceOffer
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


@dataclass(frozen=True, slots=True)
class _Word:
    """A message of a greeting.

    Attributes
    ----------
    number : int
        Of the sender's greeting: an earlier one, which it has given up, may have left words under way.
    said : Offer, bool or None
        An offer; whether the memory that was offered has been opened; or that the greeting was given up.
    answers : int
        Number of the other's greeting that has been read, 0 for none.
    """

    number: int
    said: Offer | bool | None
    answers: int = 0


_numbers = itertools.count(1)


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
        If a peer is about to exchange something else, on both; if one gives up meanwhile; if one does not come, see `hpcml.mpi.patience`.

    Communication
    -------------
    Neighbors: two small messages to and from each.
    """
    talk = _Talk(comm, offers)
    try:
        theirs = talk.offers()
        for peer, offer in theirs.items():
            if not _agree(offers[peer], offer):
                raise _disagreement(comm.rank, offers[peer], peer, offer)
        opened = {peer: segment for peer, offer in theirs.items() if offers[peer].segment and (segment := _open(offer)) is not None}
        confirmed = talk.confirmed(opened)
    except BaseException:
        talk.give_up()
        raise
    return theirs, {peer: segment for peer, segment in opened.items() if confirmed[peer]}


class _Talk:
    """One greeting, in which words of others that were given up are told from those that count."""

    def __init__(self, comm: MPI.Intracomm, mine: Mapping[int, Offer]) -> None:
        self._comm, self._mine, self._number = comm, mine, next(_numbers)
        self._heard: dict[int, _Word] = {}
        self._confirmed: dict[int, bool] = {}
        self._pending: list[MPI.Request] = []

    def offers(self) -> dict[int, Offer]:
        """Say the own ones and hear theirs, in the order of the peers."""
        self._say(self._mine)
        self._listen(self._heard)
        return {peer: cast(Offer, self._heard[peer].said) for peer in self._mine}

    def confirmed(self, opened: Container[int]) -> dict[int, bool]:
        """Say whose memory was opened, and hear who has opened this rank's."""
        self._say({peer: peer in opened for peer in self._mine})
        self._listen(self._confirmed)
        return self._confirmed

    def give_up(self) -> None:
        """Tell all peers, which may read the offer only now, that nobody is here any more."""
        with suppress(MPI.Exception, HpcmlError):  # of one that has ended
            self._say(dict.fromkeys(self._mine))
        give_up(self._pending)

    def _say(self, what: Mapping[int, Offer | bool | None]) -> None:
        for peer, said in what.items():
            word = _Word(self._number, said, self._heard[peer].number if peer in self._heard else 0)
            self._pending.append(self._comm.isend(word, peer, GREETING))

    def _listen(self, complete: Container[int]) -> None:
        def done() -> bool:
            for peer in self._mine:
                # Nothing that comes after a confirmation belongs to this greeting.
                while peer not in self._confirmed and (message := self._comm.improbe(source=peer, tag=GREETING)) is not None:
                    self._take(peer, message.recv(), answered=complete is self._confirmed)
            return all(peer in complete for peer in self._mine) and bool(MPI.Request.Testall(self._pending))

        call = next(iter(self._mine.values())).call if self._mine else ""
        wait(done, lambda: f"the first {call}", self._comm, lambda: [peer for peer in self._mine if peer not in complete])

    def _take(self, peer: int, word: _Word, answered: bool) -> None:
        before = self._heard.get(peer)
        if isinstance(word.said, bool):
            if word.answers == self._number:
                self._confirmed[peer] = word.said
        elif before is not None and (answered or word.answers == self._number):  # given up, or followed by something else
            raise self._lost(peer, cast(Offer, before.said))
        elif word.said is not None:
            self._heard[peer] = word
        elif before is not None and before.number == word.number:  # before it heard of this greeting: its next offer counts
            del self._heard[peer]

    def _lost(self, peer: int, theirs: Offer) -> CommunicationError:
        mine, rank = self._mine[peer], self._comm.rank
        if not _agree(mine, theirs):
            return _disagreement(rank, mine, peer, theirs)
        return CommunicationError(
            f"rank {peer} has given up {theirs.call}, in which rank {rank} waits for it{mine.place}: its own error says why"
        )


def _agree(mine: Offer, theirs: Offer) -> bool:
    return mine.call == theirs.call and mine.sizes == theirs.sizes[::-1]


def _disagreement(rank: int, mine: Offer, peer: int, theirs: Offer) -> CommunicationError:
    said = [f"rank {r} in {o.call}, {o.sizes[0]} bytes out and {o.sizes[1]} back{o.place}" for r, o in ((rank, mine), (peer, theirs))]
    return CommunicationError(
        f"ranks disagree about what they exchange: {'; '.join(said)}. See that all ranks make the same calls in one order, of "
        "layers with the same options, with tensors of one dtype and of the same batch and channels"
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
