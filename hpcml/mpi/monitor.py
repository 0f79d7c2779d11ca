"""Names a rank that holds the others up while they step together.

    after a step    every rank: own time of the step --non-blocking gather--> rank 0: `hpcml.mpi.lateness`

Nobody waits for it: what has arrived by the end of the next step is looked at then. A rank that does not come at all is named by
`hpcml.mpi.roll_call`.
"""

import logging
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

import numpy as np
from mpi4py import MPI

from hpcml.mpi.lateness import Late, Lateness
from hpcml.mpi.launcher import node_name
from hpcml.mpi.patience import give_up, wait
from hpcml.mpi.patient_comm import patient
from hpcml.mpi.waited import times

_log = logging.getLogger(__name__)
Tell = Callable[[str, tuple[str, ...]], None]
MOST_PENDING = 8
"""Gathers that may be under way."""
DISPLACED_SHARE = 0.15
"""Of the time in which another process has the core of this rank more than those of others: what it costs to come back to cold caches."""
QUIET = 16
"""Steps in a row in which nobody is late before that is said."""


class Monitor:
    """Compares how long ranks take for steps that they do together.

    Parameters
    ----------
    comm : MPI.Intracomm
        The ranks.
    what : str
        A step is, for the log.
    tell : callable, optional
        Called on rank 0 with a line for people and the names of nodes when ranks begin to hold the others up, and with nothing in both when
        none do any more.

    Communication
    -------------
    Making it: collective. A step: a non-blocking gather of 32 bytes of each rank.

    Notes
    -----
    A rank's own time is what it has not waited for others, nor for a core that another process had, see `hpcml.mpi.waited`: on a machine
    with more ranks than cores nobody is named for that. Slowness by half of a step is named after three steps, by 15 % after twelve.

    Examples
    --------
    >>> with Monitor(MPI.COMM_SELF) as monitor:
    ...     for step in range(3):
    ...         monitor.after_step(step)
    ...         monitor.look()
    """

    def __init__(self, comm: MPI.Intracomm, what: str = "update", tell: Tell = lambda line, nodes: None) -> None:
        self._what, self._tell = what, tell
        self._alone = comm.size == 1
        if self._alone:
            return
        self._comm = patient(comm).Dup()
        self._hosts: list[str] = self._comm.allgather(node_name())
        self._pending = deque[tuple[MPI.Request, np.ndarray, np.ndarray | None]]()
        self._lateness, self._named, self._quiet = Lateness(comm.size), "", 0
        self.resume()

    def resume(self) -> None:
        """Say that the next step begins now: what came since the last one is no part of it."""
        if not self._alone:
            self._begun = times()

    def after_step(self, step: int) -> None:
        """Hand over how long this rank took for a step; call it on every rank."""
        if self._alone:
            return
        now = times()
        took = now.since(self._begun)
        self._begun = now
        own = np.array((step, took.own, took.waited, took.displaced))
        every = np.empty((self._comm.size, 4)) if self._comm.rank == 0 else None
        self._pending.append((self._comm.Igather(own, every, 0), own, every))

    def look(self) -> None:
        """See what has arrived, and name who is late; call it on every rank, best where ranks have met after the step, before the next."""
        while not self._alone and self._pending:
            request, _, every = self._pending[0]
            if not request.Test():
                if len(self._pending) <= MOST_PENDING:
                    break
                self._wait(request)
            self._pending.popleft()
            if every is not None:
                self._judge(int(every[0, 0]), every[:, 1], every[:, 2], every[:, 3])
        self.resume()

    def close(self) -> None:
        """Let what is under way arrive, and free the communicator. Collective."""
        while not self._alone and self._pending:
            self._wait(self._pending[0][0])
            self.look()
        if not self._alone:
            self._comm.Free()
            self._alone = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:  # the other ranks may never come
            self.close()

    def _wait(self, request: MPI.Request) -> None:
        try:
            wait(request.Test, lambda: f"what the ranks took for {self._what}s", self._comm)
        except BaseException:
            give_up(*self._pending)
            raise

    def _judge(self, step: int, own: np.ndarray, waited: np.ndarray, displaced: np.ndarray) -> None:
        found = self._lateness.add(own, DISPLACED_SHARE * np.maximum(displaced - np.median(displaced), 0.0))
        self._quiet = 0 if found else self._quiet + 1
        if found and not self._named:
            self._named = self._describe(found, step, waited)
            _log.warning(self._named)
            self._tell(self._named, tuple(dict.fromkeys(self._hosts[each.rank] for each in found)))
        elif self._named and self._quiet >= QUIET:
            _log.info("no rank holds the others up any more since %s %d", self._what, step - self._quiet)
            self._named = ""
            self._tell("", ())

    def _describe(self, found: list[Late], step: int, waited: np.ndarray) -> str:
        """Who is late, with what says so."""
        late, others = found[0], np.delete(waited, [each.rank for each in found])
        late_ms, own_ms, median_ms, waited_ms = (1e3 * float(t) for t in (late.others, late.own, late.median, np.median(others)))
        who = ", ".join(f"rank {each.rank} on {self._hosts[each.rank]}" for each in found[:8])
        more = f" and {len(found) - 8} more" if len(found) > 8 else ""
        return (
            f"{who}{more} hold{'s' * (len(found) == 1)} the others up: each of {late.steps} {self._what}s to {step} took {own_ms:.0f} ms "
            f"of rank {late.rank}'s own and {median_ms:.0f} ms of the median rank's, and no other was as long late by more than "
            f"{late_ms:.0f} ms; the others waited {waited_ms:.0f} ms in the last. It has more to do, or its node is slow"
        )
