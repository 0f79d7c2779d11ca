"""What a rank that simulates does: one simulation after the other, until no more are wanted."""

import time

import numpy as np
import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.core.errors import HpcmlError
from hpcml.mpi.patience import lenient, wait
from hpcml.mpi.reductions import all_max
from hpcml.online.ask import Ask
from hpcml.online.outlet import Outlet
from hpcml.online.roles import Roles
from hpcml.online.simulations import Make
from hpcml.online.tags import Tag
from hpcml.online.work import Work

LISTEN_S = 0.02
"""Between two looks for the word that no more is wanted: MPI may give the core away at each."""


class Simulating:
    """Runs the simulations that the first trainer hands out and sends their states.

    Parameters
    ----------
    roles : Roles
        This rank's is to simulate.
    outlet : Outlet
        Takes the states.
    make : callable
        Gives them.
    pairs : bool
        Whether a sample is a state and the one after it, so that both go the same way; else it is a state alone.
    num_groups : int
        Groups of trainers, among which samples are dealt in turn.

    Communication
    -------------
    Collective over the ranks of the group: two numbers a state where there are several; and that of simulation and outlet.
    """

    def __init__(self, roles: Roles, outlet: Outlet, make: Make, pairs: bool, num_groups: int) -> None:
        self._outlet, self._make, self._pairs, self._num_groups = outlet, make, pairs, num_groups
        assert roles.group is not None
        self._comm, self._group, self._number = roles.comm, roles.own.comm, roles.group
        self._leads = roles.own.rank == 0
        self._halted = self._asked = False
        self._busy, self._listened = 0.0, 0.0

    def run(self) -> None:
        """Work until told that nothing more is wanted, or there is nothing more; then end the stream of states.

        Raises
        ------
        CommunicationError
            If a trainer does not come, see `hpcml.mpi.patience`.
        Exception
            On one rank, what a simulation that several ranks share raises there alone: the job ends with it.
        """
        self._ask()
        while (work := self._next()) is not None:
            self._ask()  # for the next one, so that it is there when it is needed
            sent = self._outlet.sent
            failure = self._simulate(work)
            if failure is not None and self._leads:
                self._say(Ask(self._number, work.simulation, self._outlet.sent - sent, failure))
        self._outlet.end()
        if not self._halted:
            with lenient():  # the trainers may learn on for hours from what they have
                wait(self._hear, lambda: "the end of training", self._comm, lambda: [0])
        self._outlet.close()

    def _ask(self) -> None:
        if self._leads and not self._asked:
            self._say(Ask(self._number))
            self._asked = True

    def _say(self, ask: Ask) -> None:
        self._comm.Send([ask.written(), MPI.BYTE], 0, Tag.ASK)

    def _next(self) -> Work | None:
        work: Work | None = None
        if self._leads and self._asked:
            with lenient():  # trainers begin when they have read their checkpoint, and answer between two updates
                wait(lambda: self._comm.iprobe(source=0, tag=Tag.WORK), lambda: "work from rank 0, which trains", self._comm, lambda: [0])
            status = MPI.Status()
            self._comm.Probe(source=0, tag=Tag.WORK, status=status)
            message = np.zeros(status.Get_count(MPI.BYTE), np.uint8)
            self._comm.Recv([message, MPI.BYTE], source=0, tag=Tag.WORK)
            work, self._asked = Work.read(message), False
        if self._agreed(False)[0]:
            return None
        with lenient():
            return self._group.bcast(work)

    def _simulate(self, work: Work) -> str | None:
        """Send what is wanted of a simulation; how it failed, if so."""
        try:
            states = self._make(work.simulation, work.parameters)
            for step in range(self._last(work)):
                start = time.monotonic()
                state = next(states)
                self._busy += time.monotonic() - start
                halted, bad = self._agreed(not torch.isfinite(state).all())
                if halted:
                    break
                if (group := self._wanted_by(work, step)) is not None:
                    self._outlet.send(group, work.simulation, step, work.parameters, state, not bad, self._busy)
        except HpcmlError as error:
            return str(error)
        except Exception as error:
            if self._group.size > 1:  # the others may wait for this rank inside the simulation
                raise
            return f"{type(error).__name__}: {error}"
        return None

    def _last(self, work: Work) -> int:
        """States up to the last that is wanted."""
        return int(np.flatnonzero(np.frombuffer(work.wanted, np.uint8))[-1]) + 1 + self._pairs

    def _wanted_by(self, work: Work, step: int) -> int | None:
        """Group of trainers that has need of a state."""
        samples = (step - 1, step) if self._pairs else (step,)
        if not any(work.wanted[sample] for sample in samples if 0 <= sample < len(work.wanted)):
            return None
        return (work.simulation + (0 if self._pairs else step)) % self._num_groups

    def _agreed(self, bad: bool | Tensor) -> tuple[bool, bool]:
        """Whether any rank of the group was told to halt, and whether a state is bad on any."""
        self._hear()
        if self._group.size == 1:
            return self._halted, bool(bad)
        with lenient():  # of ranks of one simulation one may have much more to do
            halted, bad = all_max(np.array([self._halted, bool(bad)], np.int64), self._group).tolist()
        return bool(halted), bool(bad)

    def _hear(self) -> bool:
        now = time.monotonic()
        if not self._halted and now - self._listened > LISTEN_S:
            self._listened = now
            if self._comm.iprobe(source=0, tag=Tag.HALT):
                self._comm.Recv([np.zeros(0, np.uint8), MPI.BYTE], source=0, tag=Tag.HALT)
                self._halted = True
        return self._halted
