"""Where groups that simulate get their work: the first trainer, in between its own."""

import logging
from collections.abc import Sequence

import numpy as np
from mpi4py import MPI

from hpcml.core.errors import HpcmlError, TrainingError
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
    parameters : numpy.ndarray, (simulation, parameter)
        Of each simulation.
    ordered : bool
        Whether every group has its own simulations: number n belongs to group n mod num_groups.
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
        self, comm: MPI.Intracomm, simulating: Sequence[int], num_groups: int, parameters: np.ndarray, ordered: bool, max_failed: int
    ) -> None:
        self._comm, self._simulating, self._num_groups = comm, simulating, num_groups
        self._parameters, self._ordered, self._max_failed = parameters, ordered, max_failed
        self._wanted = np.ones((len(parameters), 0), np.bool_)
        self._pending: list[int] = []
        self.failed: dict[int, str] = {}
        self.error: HpcmlError | None = None
        self._halted = False
        self._sent: list[MPI.Request] = []

    def begin(self, wanted: np.ndarray) -> None:
        """Say which samples, (simulation, sample), are to be made; until then nobody gets work."""
        self._wanted = wanted
        self._pending = [int(n) for n in np.flatnonzero(wanted.any(1)) if int(n) not in self.failed]

    def serve(self) -> None:
        """Answer whoever has asked since the last call."""
        status = MPI.Status()
        while self._comm.iprobe(source=MPI.ANY_SOURCE, tag=Tag.ASK, status=status):
            group, simulation, text = self._comm.recv(source=status.source, tag=Tag.ASK)
            if simulation is None:
                self._sent.append(self._comm.isend(self._next(group), status.source, Tag.WORK))
            else:
                self._fail(simulation, text)
        self._sent = [request for request in self._sent if not request.Test()]

    def halt(self) -> None:
        """Tell all ranks that simulate that nothing more is wanted."""
        self._halted = True
        self._sent += [self._comm.isend(None, rank, Tag.HALT) for rank in self._simulating]

    @property
    def settled(self) -> bool:
        """Whether all that was said has gone."""
        return not self._sent

    def _next(self, group: int) -> Work | None:
        mine = (k for k, n in enumerate(self._pending) if not self._ordered or n % self._num_groups == group)
        place = None if self._halted else next(mine, None)
        if place is None:
            return None
        number = self._pending.pop(place)
        return Work(number, tuple(self._parameters[number].tolist()), self._wanted[number].astype(np.uint8).tobytes())

    def _fail(self, simulation: int, text: str) -> None:
        self.failed[simulation] = text
        what = f"simulation {simulation} with the parameters {self._parameters[simulation].tolist()} has failed: {text}"
        if len(self.failed) > self._max_failed:
            allowed = f", the {len(self.failed)}th of data.max_failed = {self._max_failed} that may" if self._max_failed else ""
            self.error = self.error or TrainingError(f"{what}{allowed}. Mend it, or let more fail by data.max_failed")
        else:
            _log.warning("%s; it is left out", what)
