"""What became of every sample of every simulation: the proof that none is lost and none counted twice."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from mpi4py import MPI

from hpcml.mpi.reductions import all_max, all_sum

AWAITED, KEPT, USED, REFUSED, FAILED = range(5)
"""Not come yet; in the buffer; drawn for an update at least once; not finite, so that it was left out; never to come."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How many samples are in each state; ``doubled`` came although they had come before, and were left out."""

    awaited: int
    kept: int
    used: int
    refused: int
    failed: int
    doubled: int

    @property
    def acknowledged(self) -> int:
        """Samples that came into a buffer."""
        return self.kept + self.used

    def __str__(self) -> str:
        return (
            f"{self.acknowledged} samples came, {self.used} were used and {self.kept} are kept; {self.refused} refused, {self.failed} of "
            f"failed simulations, {self.awaited} not come, {self.doubled} doubled"
        )


class Ledger:
    """A mark for each sample.

    A sample is acknowledged when it comes into the buffer of a trainer: from then on it is in every checkpoint, and no simulation makes it
    again.

    Parameters
    ----------
    simulations, samples : int
        Simulations, and samples of each.

    Attributes
    ----------
    marks : numpy.ndarray, uint8, (simulations, samples)
        Of the samples that this rank's group of trainers has to do with.
    doubled : int
        Samples that came a second time.

    Communication
    -------------
    Local unless said.

    Examples
    --------
    >>> ledger = Ledger(1, 2)
    >>> ledger.acknowledge(0, 1), ledger.acknowledge(0, 1), ledger.doubled
    (True, False, 1)
    """

    def __init__(self, simulations: int, samples: int) -> None:
        self.marks = np.zeros((simulations, samples), np.uint8)
        self.doubled = 0

    def acknowledge(self, simulation: int, sample: int, mark: int = KEPT) -> bool:
        """Note that a sample came; whether it is the first time."""
        if self.marks[simulation, sample] != AWAITED:
            self.doubled += 1
            return False
        self.marks[simulation, sample] = mark
        return True

    def use(self, simulation: int, sample: int) -> None:
        """Note that an update learns from it."""
        self.marks[simulation, sample] = USED

    def merged(self, comm: MPI.Intracomm, failed: Iterable[int] = ()) -> Self:
        """The ledgers of all trainers as one, in which nothing of some simulations is awaited any more.

        Communication
        -------------
        Collective over comm: one all-reduce of a byte per sample.
        """
        whole = type(self)(*self.marks.shape)
        whole.marks = all_max(self.marks, comm)
        whole.doubled = int(all_sum(self.doubled, comm))
        for simulation in failed:
            row = whole.marks[simulation]
            row[row == AWAITED] = FAILED
        return whole

    def tally(self) -> Tally:
        """Count."""
        awaited, kept, used, refused, failed = np.bincount(self.marks.reshape(-1), minlength=FAILED + 1).tolist()
        return Tally(awaited, kept, used, refused, failed, self.doubled)
