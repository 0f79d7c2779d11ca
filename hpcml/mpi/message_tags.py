"""Tags of messages, all in one place and below 32767, the most that MPI guarantees."""

from functools import cache
from typing import Self

from mpi4py import MPI

from hpcml.core.errors import CommunicationError

MOST = 16384
"""Tags of exchanges: 0 to 16383."""
RAW, REBUILD, STOP, GREETING, ROLL_CALL = 32762, 32763, 32764, 32765, 32766
"""Of messages that plans are measured against, of what a lost copy is rebuilt from, of the word that a run shall stop, of greetings of
ranks that are about to exchange something, and of roll-calls."""


class MessageTags:
    """Tags that a rank gives to what it expects: each exchange in being has one of its own, and tells its peers.

    Since the receiver chooses, nothing has to be agreed on, however ranks make and close exchanges.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> tags = MessageTags()
    >>> first, second = tags.take(), tags.take()
    >>> tags.free(first)
    >>> first, second, tags.take()
    (0, 1, 2)
    """

    def __init__(self) -> None:
        self._used: set[int] = set()
        self._next = 0

    @classmethod
    def of(cls, comm: MPI.Intracomm) -> Self:
        """Those of a communicator."""
        tags = comm.Get_attr(_key())
        if tags is None:
            tags = cls()
            comm.Set_attr(_key(), tags)
        return tags  # type: ignore[return-value]

    def take(self) -> int:
        """A tag that no exchange has, the one that was freed longest ago: what was given up under it is long gone by then.

        Raises
        ------
        CommunicationError
            If all are in use.
        """
        if len(self._used) == MOST:
            raise CommunicationError(f"{MOST} exchanges are open over one communicator: close plans that are no longer used")
        while self._next % MOST in self._used:
            self._next += 1
        tag = self._next % MOST
        self._next += 1
        self._used.add(tag)
        return tag

    def free(self, tag: int) -> None:
        """Give one back."""
        self._used.discard(tag)


@cache
def _key() -> int:
    return MPI.Comm.Create_keyval()
