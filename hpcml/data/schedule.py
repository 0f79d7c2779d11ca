"""Which samples make up each update of an epoch, and who takes which."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hpcml.core.errors import ConfigError
from hpcml.data.shares import balanced
from hpcml.mpi.seeds import permutation
from hpcml.topology.block import block_range


@dataclass(frozen=True, slots=True)
class Batch:
    """One part of an update.

    Attributes
    ----------
    samples : Tensor
        Numbers of the samples of this group's share, int64.
    weight : float
        Samples of this part over samples of the update, all groups counted: what its mean loss weighs.
    of : int
        Samples of this part, all groups counted.
    """

    samples: Tensor
    weight: float
    of: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """Which samples make up each update of an epoch: the same for any number of ranks and groups.

    Parameters
    ----------
    num_samples, batch_size : int
        Samples in the data, and at most so many in one update; updates differ by at most one sample.
    accumulate : int
        Parts that an update is computed in.
    num_groups, group : int
        Groups of ranks that share each part, and this rank's.
    seed : int
        Of the order.
    costs : sequence of int, optional
        What each sample costs; groups then share the costs of a part, see `hpcml.data.shares.balanced`, not its samples.

    Raises
    ------
    ConfigError
        If some group would get no sample of some part.
    """

    num_samples: int
    batch_size: int
    accumulate: int
    num_groups: int
    group: int
    seed: int
    costs: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise ConfigError("there are no samples to learn from: name data that hold some")
        smallest = self.num_samples // self.num_updates
        if smallest < self.accumulate * self.num_groups:
            raise ConfigError(
                f"an update of {smallest} samples cannot be cut into {self.accumulate} parts for {self.num_groups} groups of ranks with a "
                f"sample for each: raise training.batch_size, or lower training.accumulate or ranks.data"
            )

    @property
    def num_updates(self) -> int:
        """Updates of an epoch."""
        return -(-self.num_samples // self.batch_size)

    def updates(self, epoch: int, first: int = 0) -> Iterator[list[Batch]]:
        """Parts of every update of an epoch from update ``first`` on, in an order of the samples of its own."""
        order = permutation(self.seed, ("order", epoch), self.num_samples)
        for update in range(first, self.num_updates):
            whole = block_range(self.num_samples, self.num_updates, update)
            yield [self._share(order[whole.start : whole.stop], part) for part in range(self.accumulate)]

    def _share(self, samples: Tensor, part: int) -> Batch:
        piece = block_range(len(samples), self.accumulate, part)
        whole = samples[piece.start : piece.stop]
        if self.costs is None:
            share = block_range(piece.size, self.num_groups, self.group)
            chosen = whole[share.start : share.stop]
        else:
            chosen = whole[balanced([self.costs[number] for number in whole.tolist()], self.num_groups) == self.group]
        return Batch(torch.as_tensor(chosen), piece.size / len(samples), piece.size)
