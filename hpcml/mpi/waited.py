"""How long this rank has waited for others: what is left of a step is the time that it took itself.

    own time = elapsed - waited - queued outside of waits

Only waits that last are counted, by `hpcml.mpi.patience` and by whoever waits elsewhere, so that one that is over at once costs nothing.
A rank that could run, but whose core another process had, is *queued*: that is no fault of its own.
"""

import os
import time
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

SCHEDSTAT = "/proc/thread-self/schedstat"


class Times(NamedTuple):
    """Seconds since any moment, the same for all; or what lies between two such times.

    Attributes
    ----------
    elapsed : float
        In all.
    waited : float
        For other ranks.
    queued : float
        For a core; 0 where the system does not tell.
    queued_waiting : float
        For a core, while it waited for other ranks.
    """

    elapsed: float
    waited: float
    queued: float
    queued_waiting: float

    def since(self, before: "Times") -> "Times":
        """What lies between."""
        return Times(*(now - then for now, then in zip(self, before, strict=True)))

    @property
    def displaced(self) -> float:
        """What another process had its core for, outside of waits."""
        return max(0.0, self.queued - self.queued_waiting)

    @property
    def own(self) -> float:
        """What the rank took itself."""
        return self.elapsed - self.waited - self.displaced


_waited = _queued_waiting = 0.0
_elsewhere: list[Callable[[], tuple[float, float]]] = []


def queued() -> float:
    """Seconds that the main thread has waited for a core since it began.

    Communication
    -------------
    Local: one read of some 2 us.
    """
    file = _schedstat()
    return int(os.pread(file, 64, 0).split()[1]) * 1e-9 if file is not None else 0.0


@cache
def _schedstat() -> int | None:
    try:
        file = os.open(SCHEDSTAT, os.O_RDONLY | os.O_CLOEXEC)
        int(os.pread(file, 64, 0).split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return file


def count(start: float, queued_before: float) -> None:
    """Count a wait that is over.

    Parameters
    ----------
    start : float
        When it began, by `time.monotonic`.
    queued_before : float
        What `queued` gave then.

    Communication
    -------------
    Local.
    """
    global _waited, _queued_waiting
    _waited += time.monotonic() - start
    _queued_waiting += queued() - queued_before


def count_elsewhere(read: Callable[[], tuple[float, float]]) -> None:
    """Add a counter of waits that Python does not see: seconds waited, and of these queued.

    Communication
    -------------
    Local.
    """
    _elsewhere.append(read)


def times() -> Times:
    """Now.

    Communication
    -------------
    Local.
    """
    others = [read() for read in _elsewhere]
    return Times(time.monotonic(), _waited + sum(o[0] for o in others), queued(), _queued_waiting + sum(o[1] for o in others))
