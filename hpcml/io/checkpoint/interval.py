"""How often to save: as often as a stated share of the run time allows, by measurement."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from statistics import median

from mpi4py import MPI

from hpcml.io.checkpoint.checkpointer import Checkpointer
from hpcml.mpi import all_max
from hpcml.mpi.call import named_call

_log = logging.getLogger(__name__)
_QUIET_STEPS = 5  # to know how long a step takes before the first save
_SETTLED = 3  # saves after which the interval is told; later only where much more may be lost than was told
_RARE_SECONDS = 60.0
_WINDOW = 20  # steps and saves that the measurement looks back on


class SaveInterval:
    """Saves every so many steps that saving costs no more than a share of the run time.

    A step during which a save is made or written may take longer than the median of the quiet steps. The sum of that over one save is its
    cost c, blocking part and disturbance together, and with quiet steps of length t the interval is

        n = ceil(c / (share t))

    and never so short that a save would begin before the last one is on disk.

    Parameters
    ----------
    checkpointer : Checkpointer
        Where to save.
    comm : mpi4py.MPI.Intracomm
        The ranks of the run.
    share : float
        Of the time without saving, 0 < share <= 1.
    clock : callable
        Seconds.

    Attributes
    ----------
    interval : int
        Steps between two saves, as chosen last.
    cost : float
        Seconds that a save costs, as measured last.

    Communication
    -------------
    `after_step` is collective where a save may be due: up to three numbers; otherwise local.

    References
    ----------
    Mohan, Phanishayee, Chidambaram: CheckFreq: frequent, fine-grained DNN checkpointing, FAST 2021.
    """

    def __init__(
        self, checkpointer: Checkpointer, comm: MPI.Intracomm, share: float = 0.035, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"the share of the run time for saving must be above 0 and at most 1, got {share}")
        self._checkpointer, self._comm, self._share, self._clock = checkpointer, comm, share, clock
        self.interval, self.cost, self._told = _QUIET_STEPS, 0.0, 0.0
        self._quiet: deque[float] = deque(maxlen=_WINDOW)
        self._costs: deque[float] = deque(maxlen=_WINDOW)
        self._disturbed: list[float] = []
        self._writing, self._steps, self._last = False, 0, clock()

    def resume(self) -> None:
        """Say that the next step begins now: what came since the last one, a validation for instance, is no part of a step."""
        self._last = self._clock()

    @named_call
    def after_step(self, step: int) -> bool:
        """Save if it is time to; call it on every rank after every step.

        Returns
        -------
        bool
            Whether it has saved.
        """
        now = self._clock()
        self._measure(now - self._last)
        self._steps += 1
        due = self._steps >= self.interval and self._choose()
        self._last = now
        if due:
            self._checkpointer.save(step)
            self._steps, self._writing = 0, True
        return due

    def _measure(self, seconds: float) -> None:
        if not self._writing:
            self._quiet.append(seconds)
            return
        self._disturbed.append(seconds)
        self._writing = self._checkpointer.writing()
        if not self._writing:
            usual = median(self._quiet)
            self._costs.append(max(0.0, sum(self._disturbed) - usual * len(self._disturbed)))
            self._disturbed = []

    def _choose(self) -> bool:
        """Choose the interval anew, alike on every rank; return whether so many steps have passed. Not while a save is still written."""
        if all_max(int(self._writing), self._comm):
            return False
        usual = float(all_max(median(self._quiet), self._comm))
        cost = float(all_max(median(self._costs) if self._costs else 0.0, self._comm))
        interval = max(1, math.ceil(cost / (self._share * usual))) if usual > 0 else 1
        if self._comm.rank == 0 and len(self._costs) >= _SETTLED and interval * usual > self._told:
            self._told = max(2 * interval * usual, _RARE_SECONDS)
            _log.info("saving every %d steps (%.3g s): a save costs %.3g s, share %.3g", interval, interval * usual, cost, self._share)
        self.interval, self.cost = interval, cost
        return self._steps >= interval
