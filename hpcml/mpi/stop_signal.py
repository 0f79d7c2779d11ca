"""Notice before the end: a signal to any rank makes all of them stop at the same step.

batch system --SIGUSR1--> ranks: flag --next step: any flag set?--> save, exit status `PREEMPTED` --> batch script requeues

A step that would last beyond the end of the job, which ``$HPCML_JOB_END`` tells in seconds since 1970, is not begun.
"""

import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

from mpi4py import MPI

from hpcml.core import stop_request
from hpcml.mpi.call import named_call
from hpcml.mpi.message_tags import STOP
from hpcml.mpi.patient_comm import patient
from hpcml.mpi.reductions import all_max


class StopSignal:
    """Turns SIGUSR1 and SIGTERM into a question that all ranks answer alike.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        The ranks.

    Communication
    -------------
    `agreed` and `heard` are collective, the rest local.

    Notes
    -----
    SIGUSR1 is the one to use (``--signal=USR1@300``): `mpiexec` passes it on to the ranks and waits for them. SIGTERM often comes with
    little time, and some launchers kill the ranks at once; then the keepers bring to disk what was saved last. In a thread other than the
    main one, where Python allows no handlers, only a SIGUSR1 counts that the command itself noted, see `hpcml.core.stop_request`.

    Examples
    --------
    >>> with StopSignal(MPI.COMM_SELF) as stop:
    ...     signal.raise_signal(signal.SIGUSR1)
    ...     stop.agreed()
    True
    """

    def __init__(self, comm: MPI.Intracomm) -> None:
        self._comm = patient(comm)
        self._received = False
        self._word: list[MPI.Request] = []
        self._heard = 0
        self._earlier: dict[int, Any] = {}
        end = os.environ.get("HPCML_JOB_END", "")
        self._end = int(end) if end.isdecimal() else None
        self._asked: list[float] = []

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGUSR1, signal.SIGTERM):
                self._earlier[number] = signal.signal(number, self._note)
        self._received |= stop_request.received()  # asked after the handlers are there: a signal meets the one or the other
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: it was not Python that made it
        if error is not None and self._received:
            stop_request.remember()  # for work that is begun again, as when a rank dies

    @named_call
    def agreed(self) -> bool:
        """Whether any rank has been asked to stop; call it on every rank after every step.

        Communication
        -------------
        Collective: one number.
        """
        self._look_ahead()
        return bool(all_max(int(self._received), self._comm))

    @named_call
    def heard(self, group: MPI.Intracomm) -> bool:
        """The same question for ranks that work in groups, each at its own pace: whether word of a request has come to any of the group.

        Communication
        -------------
        Collective over ``group``: one number; and an empty message to every other rank, once. `settle` ends it.
        """
        self._look_ahead()
        if self._received and not self._word:
            self._word = [self._comm.isend(None, rank, STOP) for rank in range(self._comm.size) if rank != self._comm.rank]
        while self._comm.size > 1 and self._comm.iprobe(tag=STOP):
            self._hear()
        return bool(all_max(int(self._received or self._heard > 0), group))

    @named_call
    def settle(self) -> bool:
        """Take in the words that are still on their way; whether any rank has been asked to stop.

        Communication
        -------------
        Collective, once all groups have come.
        """
        told = int(self._comm.allreduce(len(self._word) // max(1, self._comm.size - 1)))
        while self._heard < told - bool(self._word):
            self._hear()
        MPI.Request.Waitall(self._word)
        self._word, self._heard = [], 0
        return self.agreed()

    def _look_ahead(self) -> None:
        """Ask oneself to stop where the next step, with half as much for saving, would end after the job.

        The shorter one of the last two steps counts: what is between simulation and training is no step.
        """
        if self._end is None:
            return
        self._asked = [*self._asked[-2:], time.time()]
        if len(self._asked) == 3:
            first, second, now = self._asked
            self._received |= now + 1.5 * min(second - first, now - second) > self._end

    def _hear(self) -> None:
        self._comm.recv(tag=STOP)
        self._heard += 1

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = True
