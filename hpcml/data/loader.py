"""Batch after batch of pairs for a training loop of one's own."""

from collections.abc import Iterator

from torch import Tensor

from hpcml.data.samples import Samples
from hpcml.data.schedule import Schedule


class Loader:
    """A rank's part of every update, shuffled, read ahead, and resumable at any update.

    The order of the samples of an epoch is a function of the seed, the epoch and the samples' numbers, so it is the same on any number of
    ranks. Iterating gives the updates that are left of the current epoch; then the next epoch begins.

    Parameters
    ----------
    samples : Samples
        What to learn from: `Pairs` in memory or `StoredPairs` in files.
    schedule : Schedule
        Who takes which sample when.

    Attributes
    ----------
    epoch, update : int
        What comes next.

    Communication
    -------------
    Local.
    """

    def __init__(self, samples: Samples, schedule: Schedule) -> None:
        self.samples, self.schedule = samples, schedule
        self.epoch = self.update = 0

    def __iter__(self) -> Iterator[list[tuple[Tensor, Tensor, float]]]:
        """Parts (inputs, targets, weight) of each update, the fields being (sample, channel, *local_shape)."""
        for parts in self.samples.ahead(self.schedule.updates(self.epoch, self.update)):
            self.update += 1  # what is given out counts as done: save a state between two updates
            yield [(*self.samples.take(batch.samples), batch.weight) for batch in parts]
        self.epoch, self.update = self.epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        """Where it stands; the same on every rank."""
        return {"epoch": self.epoch, "update": self.update}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from there, on any number of ranks."""
        self.epoch, self.update = state["epoch"], state["update"]
