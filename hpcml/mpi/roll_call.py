"""A rank that has waited too long tells the others what it waits for, and hears what they wait for: who says nothing has not come.

Nothing is sent before patience ends. From then on every rank that waits sends one message to the others that it knows of, on
``MPI.COMM_WORLD``, and listens for a moment.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mpi4py import MPI

from hpcml.core.errors import LostRankError
from hpcml.mpi.call import current_call, user_line
from hpcml.mpi.message_tags import ROLL_CALL

LISTEN_S = 0.6
"""Ranks that wait look for messages twenty times in a second."""
MOST_TOLD = 64
"""Ranks that are told: enough to name who is missing, and no flood where thousands wait."""
_sent: list[MPI.Request] = []  # small messages to ranks that may never receive them


@dataclass(frozen=True, slots=True)
class Waiting:
    """What one rank waits for.

    Attributes
    ----------
    rank : int
        In ``MPI.COMM_WORLD``, as all ranks here.
    call : str
        The layer or function, and the caller's line.
    awaited : tuple of int
        Ranks of which at least one has not come.
    since, moment : float
        When it began to wait, and when it said so, in seconds of the clock that nodes share.
    """

    rank: int
    call: str
    awaited: tuple[int, ...]
    since: float
    moment: float


def world_ranks(comm: MPI.Intracomm, ranks: Sequence[int]) -> tuple[int, ...]:
    """Numbers in ``MPI.COMM_WORLD`` of ranks of a communicator.

    Communication
    -------------
    Local.
    """
    group, world = comm.Get_group(), MPI.COMM_WORLD.Get_group()
    found = tuple(group.Translate_ranks(list(ranks), world))
    group.Free()
    world.Free()
    return found


def said_since(moment: float) -> list[Waiting]:
    """What others have said since then; what is older is of a wait that this rank had no part in, and is forgotten.

    Communication
    -------------
    Local: takes what has arrived.
    """
    heard: list[Waiting] = []
    while (message := MPI.COMM_WORLD.improbe(tag=ROLL_CALL)) is not None:
        said: Waiting = message.recv()
        if said.moment >= moment:
            heard.append(said)
    return heard


def call_roll(
    what: str, comm: MPI.Intracomm, awaited: Sequence[int], began: float, heard: Sequence[Waiting], done: Callable[[], bool]
) -> LostRankError | None:
    """Say what this rank waits for, listen, and give the error that names who has not come; None if the wait ends meanwhile.

    Parameters
    ----------
    what : str
        Is waited in.
    comm : mpi4py.MPI.Intracomm
        The ranks that take part.
    awaited : sequence of int
        Ranks of ``comm`` of which at least one has not come.
    began : float
        When the wait began, by `time.time`.
    heard : sequence of Waiting
        What others have said already.
    done : callable
        Whether the wait is over.

    Communication
    -------------
    One message of some hundred bytes to at most `MOST_TOLD` ranks.
    """
    me, missing = MPI.COMM_WORLD.rank, world_ranks(comm, awaited)
    own = Waiting(me, f"{_call(what)}{user_line()}", missing, began, time.time())
    others = [rank for rank in world_ranks(comm, range(min(comm.size, MOST_TOLD))) if rank != me]
    _sent.extend(MPI.COMM_WORLD.isend(own, rank, ROLL_CALL) for rank in dict.fromkeys((*others, *missing, *(said.rank for said in heard))))
    known = {said.rank: said for said in heard}
    until = time.monotonic() + LISTEN_S
    while time.monotonic() < until:
        if done():
            return None
        known |= {said.rank: said for said in said_since(began)}
        time.sleep(5e-3)
    return LostRankError(_verdict(own, known))


def _call(what: str) -> str:
    name = current_call()
    return what if not name or name in what else f"{name}: {what}"


def _verdict(own: Waiting, known: dict[int, Waiting]) -> str:
    def name(call: str) -> str:
        return call.partition(" (")[0]

    absent = [rank for rank in own.awaited if rank not in known]
    elsewhere = [known[rank] for rank in own.awaited if rank in known and name(known[rank].call) != name(own.call)]
    waited = own.moment - own.since
    text = f"rank {own.rank} has waited {waited:.0f} s in {own.call} and waits for {list_ranks(own.awaited)}"
    if absent and len(absent) < len(own.awaited):
        text += f": {list_ranks(absent)} {'do' if len(absent) > 1 else 'does'} not come"
    elif absent:
        text += f", which {'live but do' if len(absent) > 1 else 'lives but does'} not come"
    text += "".join(f"; rank {said.rank} waits in {said.call} for {list_ranks(said.awaited)}" for said in elsewhere)
    return f"{text}. See that all ranks make the same calls equally often and in one order, or set HPCML_PATIENCE_S to a longer time"


def list_ranks(ranks: Sequence[int]) -> str:
    """Some ranks in words: the first eight.

    Communication
    -------------
    Local.
    """
    few = ", ".join(map(str, ranks[:8])) + (f" and {len(ranks) - 8} more" if len(ranks) > 8 else "")
    return f"rank{'s' * (len(ranks) > 1)} {few}" if ranks else "nobody"
