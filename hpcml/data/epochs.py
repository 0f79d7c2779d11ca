"""Pass after pass over samples that are stored."""

from collections.abc import Iterator
from dataclasses import dataclass

from mpi4py import MPI

from hpcml.data.samples import Samples
from hpcml.data.schedule import Batch, Schedule
from hpcml.data.stream import Part, Stream


class Epochs(Stream):
    """A rank's part of every update, shuffled, read ahead, and resumable at any update.

    The order of the samples of an epoch is a function of the seed, the epoch and the samples' numbers, so it is the same on any number of
    ranks. Iterating gives the updates that are left of the current epoch; then the next epoch begins.

    Parameters
    ----------
    samples : Samples
        What to learn from: `Pairs` in memory or `StoredPairs` in files.
    batch_size : int
        Samples of an update at most, of all groups together.
    accumulate : int
        Parts that an update is computed in.
    seed : int
        Of the order.

    Attributes
    ----------
    epoch, update : int
        What comes next.

    Raises
    ------
    ConfigError
        If some group would get no sample of some part.

    Communication
    -------------
    That of taking the samples.
    """

    def __init__(self, samples: Samples, batch_size: int, accumulate: int = 1, seed: int = 0) -> None:
        self.samples, self.space = samples, samples.space
        self.schedule = Schedule(samples.num_samples, batch_size, accumulate, *samples.groups, seed, samples.costs)
        self.num_updates = self.schedule.num_updates
        self.epoch = self.update = 0

    @property
    def world_comm(self) -> MPI.Intracomm:
        return self.samples.world_comm

    def __iter__(self) -> Iterator["_Taken"]:
        if self.update == self.num_updates:
            self.epoch, self.update = self.epoch + 1, 0
        for batches in self.samples.ahead(self.schedule.updates(self.epoch, self.update)):
            self.update += 1
            yield _Taken(self.samples, batches)

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "update": self.update}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self.update = state["epoch"], state["update"]


@dataclass(frozen=True, slots=True)
class _Taken:
    """Parts of an update, each taken when it is asked for, so that one of them at a time is in memory."""

    samples: Samples
    batches: list[Batch]

    def __iter__(self) -> Iterator[Part]:
        for batch in self.batches:
            for part in self.samples.taken(batch):
                part.space.visit(part.numbers)
                yield part
