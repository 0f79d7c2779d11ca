"""A rank that has waited too long tells the others what it waits for, and hears what they wait for: who says nothing has not come.

Nothing is sent before patience ends. From then on every rank that waits sends one message to the others that it knows of, on
``MPI.COMM_WORLD``, and listens for a moment. For a rank that does not come a thread answers, see `hpcml.mpi.at_work`.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mpi4py import MPI

from hpcml.core.errors import LostRankError
from hpcml.mpi.call import current_call, user_line
from hpcml.mpi.message_tags import ROLL_CALL

LISTEN_S = 0.6
"""Ranks that wait look for messages twenty times in a second; those that work do so less often, and are listened to for thrice as long."""
MOST_TOLD = 64
"""Ranks that are told: enough to name who is missing, and no flood where thousands wait."""
MOST_NAMED = 8
_sent: list[MPI.Request] = []  # small messages to ranks that may never receive them
_overheard = deque["Waiting"]()  # by the thread that answers


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
    at_work : bool
        Whether it waits for nobody: then ``call`` is the line that it is at.
    """

    rank: int
    call: str
    awaited: tuple[int, ...]
    since: float
    moment: float
    at_work: bool = False


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
    return [said for said in _heard_since(moment) if not said.at_work]  # such an answer is of a call that is over


def _heard_since(moment: float) -> list[Waiting]:
    heard = [*_arrived()]
    while _overheard:
        heard.append(_overheard.popleft())
    return [said for said in heard if said.moment >= moment]


def answer(where: Callable[[], str]) -> None:
    """Say to those that call the roll and wait for this rank where it is; for a thread.

    Communication
    -------------
    Local without a roll-call; else a message to each that calls.
    """
    me = MPI.COMM_WORLD.rank
    for said in _arrived():
        _overheard.append(said)
        if me in said.awaited:
            now = time.time()
            _sent.append(MPI.COMM_WORLD.isend(Waiting(me, where(), (), now, now, at_work=True), said.rank, ROLL_CALL))


def _arrived() -> Iterator[Waiting]:
    while (message := MPI.COMM_WORLD.improbe(tag=ROLL_CALL)) is not None:
        yield message.recv()


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
    start = time.monotonic()
    while (listened := time.monotonic() - start) < LISTEN_S or (listened < 3 * LISTEN_S and not known.keys() >= {*missing}):
        if done():
            return None
        known |= {said.rank: said for said in _heard_since(began)}
        time.sleep(5e-3)
    error = LostRankError(_verdict(own, known))
    error.silent = tuple(rank for rank in missing if rank not in known)
    return error


def _call(what: str) -> str:
    name = current_call()
    return what if not name or name in what else f"{name}: {what}"


def _verdict(own: Waiting, known: dict[int, Waiting]) -> str:
    def name(call: str) -> str:
        return call.partition(" (")[0]

    working = {rank: said for rank, said in known.items() if said.at_work}
    absent = [rank for rank in own.awaited if rank not in known or rank in working]
    elsewhere = [known[rank] for rank in own.awaited if rank in known.keys() - working and name(known[rank].call) != name(own.call)]
    waited = own.moment - own.since
    text = f"rank {own.rank} has waited {waited:.0f} s in {own.call} and waits for {list_ranks(own.awaited)}"
    if absent and len(absent) < len(own.awaited):
        text += f": {list_ranks(absent)} {'do' if len(absent) > 1 else 'does'} not come"
    elif absent:
        text += f", which {'live but do' if len(absent) > 1 else 'lives but does'} not come"
    text += "".join(f"; rank {rank} is {working[rank].call}" for rank in absent[:MOST_NAMED] if rank in working)
    text += "".join(f"; rank {said.rank} waits in {said.call} for {list_ranks(said.awaited)}" for said in elsewhere)
    return f"{text}. See that all ranks make the same calls equally often and in one order, or set HPCML_PATIENCE_S to a longer time"


def list_ranks(ranks: Sequence[int]) -> str:
    """Some ranks in words: the first eight.

    Communication
    -------------
    Local.
    """
    few = ", ".join(map(str, ranks[:MOST_NAMED])) + (f" and {len(ranks) - MOST_NAMED} more" if len(ranks) > MOST_NAMED else "")
    return f"rank{'s' * (len(ranks) > 1)} {few}" if ranks else "nobody"
