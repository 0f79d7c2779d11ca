"""When a training saves itself, and what a disk without room means for it."""

import logging
import math
import time
from collections.abc import Callable
from functools import partial

import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.core.errors import CheckpointError, TrainingError
from hpcml.data.samples import Samples
from hpcml.io.checkpoint import Checkpointer, Rows, SaveInterval
from hpcml.io.files.remedy import lacks_room

_log = logging.getLogger(__name__)
_TELL_SECONDS = 60.0
"""Least time between two complaints about a full disk."""


class Saves:
    """Saves of one training.

    Parameters
    ----------
    checkpointer : Checkpointer or None
        That all state is registered with, but for torch's random stream of each rank, which this does; it may be lazy. Without one nothing
        is saved.
    comm : MPI.Intracomm
        All ranks of the training.
    share : float
        Largest share of the time that saves may take.

    Communication
    -------------
    Collective over comm, as the checkpointer's.
    """

    def __init__(self, checkpointer: Checkpointer | None, comm: MPI.Intracomm, share: float) -> None:
        self._checkpointer, self._shown = checkpointer, comm.rank == 0
        self._told = -_TELL_SECONDS
        if checkpointer is None:
            return
        self._interval = SaveInterval(checkpointer, comm, share)
        checkpointer.register("random", lambda: Rows(torch.get_rng_state()[None]), partial(_set_random, torch.set_rng_state))
        if torch.cuda.is_initialized():
            states = lambda: Rows(torch.cuda.get_rng_state()[None])  # noqa: E731
            checkpointer.register("random_gpu", states, partial(_set_random, torch.cuda.set_rng_state), required=False)

    def begin(self, step: int, finished: bool) -> None:
        """Save the start, unless it is what was restored from disk; what cannot be written is told now."""
        if self._checkpointer is None:
            return
        if self._checkpointer.latest() != step:  # a start, or a restart from memory, of the end too
            self._checkpointer.save(step)
            self._checkpointer.wait()
        elif not finished:
            self._checkpointer.prepare()

    def resume(self) -> None:
        """Time that was spent otherwise, on validation for instance, counts for nothing."""
        if self._checkpointer is not None:
            self._interval.resume()

    def before_update(self) -> None:
        """Let a copy that is being taken end."""
        if self._checkpointer is not None:
            self._checkpointer.before_update()

    def after_update(self, step: int) -> None:
        """Save if it is time to. A disk that has no room does not end the run: a later save may find some, and this is said."""
        if self._checkpointer is None:
            return
        try:
            self._interval.after_step(step)
        except CheckpointError as error:
            if not lacks_room(str(error)):
                raise
            if self._shown and time.monotonic() - self._told > _TELL_SECONDS:
                _log.warning("%s; training goes on, and what it learns is saved once there is room", error)
                self._told = time.monotonic()

    def end(self, step: int) -> None:
        """Save the end; what an earlier save could not write is no reason not to try."""
        if self._checkpointer is None:
            return
        try:
            self._checkpointer.save(step)
            self._checkpointer.wait()
        except CheckpointError as error:
            if not lacks_room(str(error)):
                raise
            self._checkpointer.save(step)
            self._checkpointer.wait()

    def diverged(self, step: int, what: str, noisy: bool = False) -> TrainingError:
        """The error of a training that cannot go on: what came, what is left, and what to do."""
        lower = "training.learning_rate or training.noise" if noisy else "training.learning_rate"
        return TrainingError(
            f"training diverged at step {step}: {what}; {self._last_good()}. "
            f"Lower {lower}, set training.clip, or look in the data for NaN, and for values so far from one that they "
            "need another unit"
        )

    def check(self, samples: Samples | None, loss: float, step: int) -> None:
        """Refuse to go on where the loss on held-out data is not finite: of parameters after the last update nothing else tells."""
        if samples is not None and samples.num_samples and not math.isfinite(loss):
            raise self.diverged(step, f"loss {loss} on held-out data")

    def _last_good(self) -> str:
        if self._checkpointer is None:
            return "nothing was saved, for there is no folder"
        self._checkpointer.wait()
        latest = self._checkpointer.latest()
        if latest is None:
            return "no checkpoint was written yet"
        return f"the last good checkpoint is that of step {latest} in {self._checkpointer.folder}"


def _set_random(go_on: Callable[[Tensor], None], states: Tensor) -> None:
    """Go on with this rank's stream; on another number of ranks, where streams do not match ranks, with the one that is there."""
    if len(states) == 1:
        go_on(states[0])
