"""Ranks find out that all of them are in the same call before they exchange anything in it.

    number(call) = hash of operation, layer or function, dtype, shape ...          max over ranks = min over ranks

One all-reduce of three words, which every collective of the package makes first. What comes after it can neither hang nor mix up: all
ranks are there, and mean the same.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from mpi4py import MPI

from hpcml.core.errors import CommunicationError
from hpcml.mpi.call import compared_call, number_of, user_line
from hpcml.mpi.patience import give_up, lenient, wait
from hpcml.mpi.roll_call import list_ranks

MOST_KNOWN = 4096
MOST_SAID = 1024
"""Bytes in which a rank says what it does."""
_numbers: dict[tuple[Any, ...], int] = {}


def meet(comm: MPI.Intracomm, operation: str, *facts: object, flag: bool = True) -> bool:
    """Wait until all ranks have come to this call, and make sure that it is the same one.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        The ranks.
    operation : str
        What they are about to do.
    *facts : hashable
        What must be alike besides: dtype, shape, root.
    flag : bool
        Anything.

    Returns
    -------
    bool
        Whether the flag is true on all ranks.

    Raises
    ------
    CommunicationError
        On every rank, where calls differ; where a rank does not come, see `hpcml.mpi.patience`.

    Communication
    -------------
    Collective: one all-reduce of 24 bytes. Local on one rank.

    Examples
    --------
    >>> meet(MPI.COMM_SELF, "sum", "float32", (3,))
    True
    """
    return Meeting(comm, operation, *facts, flag=flag).wait()


@contextmanager
def unhurried(comm: MPI.Intracomm, operation: str) -> Iterator[None]:
    """Meet, and then wait without a limit in the block: all are there, and whoever has most to do is waited for.

    Communication
    -------------
    Collective, as `meet`.
    """
    meet(comm, operation)
    with lenient():
        yield


class Meeting:
    """`meet` in two steps, with time in between.

    Communication
    -------------
    Making it is collective and does not wait.
    """

    def __init__(self, comm: MPI.Intracomm, operation: str, *facts: object, flag: bool = True) -> None:
        self._comm, self._operation, self._facts, self._flag = comm, operation, facts, flag
        self._request: MPI.Request | None = None
        if comm.size > 1:
            key = operation, compared_call(), facts
            number = _numbers.get(key) or _number(key)
            self._words = np.array((number, -number, not flag, 0, 0, 0), dtype=np.int64)
            self._request = comm.Iallreduce(self._words[:3], self._words[3:], MPI.MAX)

    def wait(self) -> bool:
        """See `meet`."""
        if self._request is None:
            return self._flag
        try:
            wait(self._request.Test, lambda: describe(self._operation, self._facts), self._comm)
        except BaseException:
            give_up(self._request, self._words)
            raise
        if self._words[3] != -self._words[4]:
            raise _disagreement(self._comm, f"{_in_call()}{describe(self._operation, self._facts)}{user_line()}")
        return not self._words[5]


def describe(operation: str, facts: tuple[object, ...] = ()) -> str:
    """An operation and what belongs to it in words.

    Communication
    -------------
    Local.
    """
    return operation + (f" of {' '.join(map(str, facts))}" if facts else "")


def _number(key: tuple[Any, ...]) -> int:
    if len(_numbers) >= MOST_KNOWN:
        _numbers.clear()
    _numbers[key] = number = number_of(key)
    return number


def _in_call() -> str:
    name = compared_call()
    return f"{name}: " if name else ""


def _tell_all(comm: MPI.Intracomm, mine: str) -> list[str]:
    own, every = np.zeros(MOST_SAID, np.uint8), np.zeros((comm.size, MOST_SAID), np.uint8)
    said = np.frombuffer(mine.encode()[:MOST_SAID], np.uint8)
    own[: len(said)] = said
    request = comm.Iallgather(own, every)
    try:
        wait(request.Test, lambda: mine, comm)
    except BaseException:
        give_up(request, own, every)
        raise
    return [bytes(text).rstrip(b"\0").decode(errors="ignore") for text in every]


def _disagreement(comm: MPI.Intracomm, mine: str) -> CommunicationError:
    """The error of all ranks: who does what. Some may have met and given up before this one came, and are not there any more."""
    said = _tell_all(comm, mine)
    calls = [text.partition(" (/")[0] for text in said]
    kinds = {call: [rank for rank, other in enumerate(calls) if other == call] for call in dict.fromkeys(calls)}
    parts = [f"{list_ranks(ranks)} in {said[ranks[0]]}" for ranks in kinds.values()]
    return CommunicationError(
        f"ranks disagree about what they are doing: {'; '.join(parts)}. See that all ranks make the same calls in one order, "
        "with tensors of one dtype and shape"
    )
