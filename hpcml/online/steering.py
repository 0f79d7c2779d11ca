"""Which parameters simulations get: decided anew by what training shows, and no more once a simulation has begun."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from mpi4py import MPI
from torch import Tensor

from hpcml.core.errors import HpcmlError, TrainingError
from hpcml.data.stream import Watched
from hpcml.mpi.agreement import agree_on_error
from hpcml.online.parameters import scaled
from hpcml.online.sample_losses import sample_losses
from hpcml.online.sampler import Sampler

Score = Callable[[np.ndarray], np.ndarray]
"""From parameters, (candidate, parameter), to scores."""


class Steering:
    """A sampler, what it was told, and which simulations are no longer its business.

    Parameters
    ----------
    sampler : Sampler
        The first trainer's decides; the others only know its table where they are told.
    ranges : mapping of str to (float, float)
        Least and largest value of each parameter.
    comm : MPI.Intracomm
        The trainers.
    leads : bool
        Whether this rank is the first of those that share samples.

    Attributes
    ----------
    settled, begun : numpy.ndarray, bool, (simulation,)
        Whose parameters are decided for good; of which a state has come, or will never come. On the first trainer.
    seconds : float
        Spent in looking at losses and choosing.

    Communication
    -------------
    Local unless said.
    """

    def __init__(self, sampler: Sampler, ranges: Mapping[str, tuple[float, float]], comm: MPI.Intracomm, leads: bool) -> None:
        self.sampler, self._ranges, self._comm, self._leads = sampler, ranges, comm, leads
        self.settled, self.begun = (np.zeros(len(sampler.design), np.bool_) for _ in range(2))
        self.updates, self.seconds = 0, 0.0
        self._seen: list[tuple[np.ndarray, np.ndarray, Tensor]] = []

    @property
    def learns(self) -> bool:
        """Whether the sampler ever changes its mind."""
        return self.sampler.every is not None

    @property
    def parameters(self) -> np.ndarray:
        """Of all simulations, as far as it is decided, (simulation, parameter)."""
        return scaled(self.sampler.table, self._ranges)

    def settle(self, simulation: int, as_designed: bool = False) -> tuple[float, ...]:
        """Parameters of a simulation, from now on for good."""
        if as_designed and not self.settled[simulation]:
            self.sampler.table[simulation] = self.sampler.design[simulation]
        self.settled[simulation] = True
        return tuple(scaled(self.sampler.table[simulation], self._ranges).tolist())

    def looking(self, loss: Watched, given: Callable[[], Sequence[tuple[int, int]]], relative: bool) -> Watched:
        """A loss that looks at each sample by itself too, where the sampler learns.

        Parameters
        ----------
        loss : callable
            What updates minimise.
        given : callable
            Says simulation and step of each sample of the update.
        relative : bool
            As `hpcml.online.sample_losses.sample_losses` has it.

        Communication
        -------------
        When it is called: that of the loss and of `sample_losses`.
        """
        if not self.learns or self.sampler.look is None:
            return loss
        every = self.sampler.look

        def look(space: Any, prediction: Tensor, target: Tensor) -> Tensor:
            if self.updates % every:
                return loss(space, prediction, target)
            start = time.monotonic()
            simulations, steps = np.array(given(), np.int64).T
            self.observe(simulations, steps, sample_losses(space, prediction.detach(), target, relative))
            self.seconds += time.monotonic() - start
            return loss(space, prediction, target)

        return look

    def observe(self, simulations: np.ndarray, steps: np.ndarray, errors: Tensor) -> None:
        """Keep what an update has shown of the samples of this rank's group, each with its loss."""
        if self._leads:
            self._seen.append((simulations, steps, errors))

    def after_update(self, score: Score | None) -> None:
        """Choose anew where it is time.

        Raises
        ------
        HpcmlError
            On every rank, what the sampler raises, and for points that are none of the cube.

        Communication
        -------------
        Collective over the trainers, once in ``sampler.every`` updates: what was seen goes to the first, tens of bytes for each sample.
        """
        if self.sampler.every is None or not self.updates or self.updates % self.sampler.every:
            return
        start = time.monotonic()
        error: HpcmlError | None = None
        scores: np.ndarray | None = None
        self._tell()
        if self.sampler.scores and score is not None:
            candidates = self._comm.bcast(self.sampler.candidates() if self._comm.rank == 0 else None)
            scores = score(scaled(candidates, self._ranges))
        if self._comm.rank == 0:
            try:
                self._choose(scores)
            except HpcmlError as caught:
                error = caught
            except Exception as caught:
                error = TrainingError(f"data.sampler has failed after update {self.updates}: {type(caught).__name__}: {caught}")
        agree_on_error(error, self._comm)
        self.seconds += time.monotonic() - start

    def state_dict(self) -> dict[str, Any]:
        """What a restart needs, the same on every rank.

        Communication
        -------------
        Collective over the trainers: a broadcast.
        """
        self._tell()
        first = self._comm.rank == 0
        marks = self.settled.astype(np.uint8), self.begun.astype(np.uint8)
        mine = (
            (self.sampler.table.copy(), *marks, {name: _packed(array) for name, array in self.sampler.state().items()}) if first else None
        )
        table, settled, begun, sampler = self._comm.bcast(mine)
        return {"table": table, "settled": settled, "begun": begun, "sampler": sampler, "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.sampler.table[:] = np.asarray(state["table"])
        self.settled[:], self.begun[:] = np.asarray(state["settled"]), np.asarray(state["begun"])
        self.sampler.go_on({name: _unpacked(*packed) for name, packed in state["sampler"].items()})
        self.updates = int(state["updates"])

    def _choose(self, scores: np.ndarray | None) -> None:
        sampler, numbers = self.sampler, np.flatnonzero(~self.settled)
        points = np.asarray(sampler.choose(numbers, scores), np.float64)
        if points.ndim != 2 or len(points) > len(numbers) or points.shape[1] != sampler.table.shape[1]:
            most = (len(numbers), sampler.table.shape[1])
            raise TrainingError(f"data.sampler chose points of shape {points.shape}: expected at most {most}, one row a simulation")
        if not ((points >= 0) & (points <= 1)).all():
            raise TrainingError("data.sampler chose a point outside of the unit cube, in which all samplers work: clip it")
        sampler.table[numbers[: len(points)]] = points

    def _tell(self) -> None:
        """Let the first trainer's sampler hear of all updates since the last time, each as one batch of all groups."""
        seen, self._seen = self._seen, []
        if not self.learns:
            return
        mine = [(simulations, steps, errors.cpu().numpy()) for simulations, steps, errors in seen]
        found = [mine] if self._comm.size == 1 else self._comm.gather(mine)
        if found is not None:
            for update in zip(*(each for each in found if each), strict=False):
                self.sampler.observe(*(np.concatenate(column) for column in zip(*update, strict=True)))


def _packed(array: np.ndarray) -> tuple[str, list[int], bytes]:
    """An array as a value: those of a checkpoint keep their shape, and a sampler knows the more the longer it has watched."""
    return array.dtype.str, list(array.shape), array.tobytes()


def _unpacked(dtype: str, shape: list[int], memory: bytes) -> np.ndarray:
    return np.frombuffer(memory, dtype).reshape(shape).copy()
