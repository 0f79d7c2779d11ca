"""Where groups that simulate get their work: the first trainer, in between its own."""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
from mpi4py import MPI

from hpcml.core.errors import HpcmlError, TrainingError
from hpcml.online.ask import MOST_BYTES, Ask
from hpcml.online.steering import Steering
from hpcml.online.tags import Tag
from hpcml.online.work import Work

_log = logging.getLogger(__name__)


class Desk:
    """Hands out simulations, hears of those that have failed, and tells everybody when no more are wanted.

    Parameters
    ----------
    comm : MPI.Intracomm
        All ranks of both roles.
    simulating : sequence of int
        Ranks that simulate.
    num_groups : int
        Groups of them.
    steering : Steering
        Says the parameters of each simulation.
    ordered : bool
        Whether every group has its own simulations: number n belongs to group n mod num_groups. Where the sampler learns, a simulation is
        then given out only once the one before it in its group has sent a state, whoever is faster.
    max_failed : int
        Simulations that may fail.

    Attributes
    ----------
    error : HpcmlError or None
        Why the run cannot go on.
    failed : dict of int to str
        Simulations that have failed, and how.

    Communication
    -------------
    `serve` and `halt` send and take small messages; they never wait.
    """

    def __init__(
        self, comm: MPI.Intracomm, simulating: Sequence[int], num_groups: int, steering: Steering, ordered: bool, max_failed: int
    ) -> None:
        self._comm, self._simulating, self._num_groups = comm, simulating, num_groups
        self._steering, self._ordered, self._max_failed = steering, ordered, max_failed
        self._holds = ordered and steering.learns
        self._wanted = np.ones((len(steering.settled), 0), np.bool_)
        self._pending: list[int] = []
        self._asking: list[tuple[int, int]] = []
        self.failed: dict[int, str] = {}
        self.error: HpcmlError | None = None
        self._halted = False
        self._sent: list[tuple[MPI.Request, np.ndarray]] = []

    def begin(self, wanted: np.ndarray) -> None:
        """Say which samples, (simulation, sample), are to be made; until then nobody gets work."""
        self._wanted = wanted
        self._pending = [int(n) for n in np.flatnonzero(wanted.any(1)) if int(n) not in self.failed]
        for group in range(self._num_groups):
            for number in self._of(group) if self._holds else ():
                self._steering.settle(number)
                if not self._steering.begun[number]:  # of one that has, the next is decided, whichever group had it before a restart
                    break

    def serve(self) -> None:
        """Answer whoever has asked since the last call, and whoever had to wait."""
        status = MPI.Status()
        while self._comm.iprobe(source=MPI.ANY_SOURCE, tag=Tag.ASK, status=status):
            message = np.zeros(MOST_BYTES, np.uint8)
            self._comm.Recv([message, MPI.BYTE], source=status.source, tag=Tag.ASK)
            ask = Ask.read(message)
            if ask.simulation is None:
                self._asking.append((ask.group, status.source))
            else:
                self._fail(ask.simulation, ask.text, ask.sent)
        asking, self._asking = self._asking, []
        for group, source in asking:
            number = None if self._halted else next(self._of(group), None)
            if number is not None and self._holds and not self._steering.settled[number]:
                self._asking.append((group, source))
            else:
                self._send(Work.none() if number is None else self._work(number).written(), source, Tag.WORK)
        self._sent = [(request, message) for request, message in self._sent if not request.Test()]

    def came(self, simulation: int, as_designed: bool = False) -> None:
        """Hear that a state of a simulation has come, or will never: the next one of its group may begin."""
        if self._holds and not self._steering.begun[simulation]:
            self._steering.begun[simulation] = True
            number = next((n for n in self._of(simulation % self._num_groups) if not self._steering.settled[n]), None)
            if number is not None:
                self._steering.settle(number, as_designed)

    def halt(self) -> None:
        """Tell all ranks that simulate that nothing more is wanted."""
        self._halted = True
        for rank in self._simulating:
            self._send(np.zeros(0, np.uint8), rank, Tag.HALT)

    @property
    def settled(self) -> bool:
        """Whether all that was said has gone."""
        return not self._sent

    def _send(self, message: np.ndarray, rank: int, tag: Tag) -> None:
        self._sent.append((self._comm.Isend([message, MPI.BYTE], rank, tag), message))  # which stays until it has gone

    def _of(self, group: int) -> Iterator[int]:
        """Simulations that a group may be given; those that are settled come first."""
        return (n for n in self._pending if not self._ordered or n % self._num_groups == group)

    def _work(self, number: int) -> Work:
        self._pending.remove(number)
        return Work(number, self._steering.settle(number), self._wanted[number].astype(np.uint8).tobytes())

    def _fail(self, simulation: int, text: str, sent: int) -> None:
        self.failed[simulation] = text
        if not sent:  # else a state of it is on its way, which says when the next one may begin
            self.came(simulation, as_designed=True)
        what = f"simulation {simulation} with the parameters {self._steering.parameters[simulation].tolist()} has failed: {text}"
        if len(self.failed) > self._max_failed:
            allowed = f", the {len(self.failed)}th of data.max_failed = {self._max_failed} that may" if self._max_failed else ""
            self.error = self.error or TrainingError(f"{what}{allowed}. Mend it, or let more fail by data.max_failed")
        else:
            _log.warning("%s; it is left out", what)
