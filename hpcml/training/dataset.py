"""Pairs of fields to learn from: this rank's block of every sample, and who takes which sample when."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hpcml.core.errors import ConfigError, ShapeError
from hpcml.fields.domain import Domain
from hpcml.io.dataset import Meaning
from hpcml.mpi.call import named_call
from hpcml.mpi.host_copy import to_device
from hpcml.mpi.reductions import all_sum
from hpcml.mpi.seeds import permutation
from hpcml.topology.block import block_range


class Samples(ABC):
    """Numbered pairs of fields on a domain, wherever they lie.

    Attributes
    ----------
    domain : Domain
        Where the fields live.
    meaning : Meaning or None
        What the fields stand for, where that is known.
    """

    domain: Domain
    meaning: Meaning | None

    @property
    @abstractmethod
    def num_samples(self) -> int:
        """Samples of all groups together."""

    @property
    @abstractmethod
    def num_channels(self) -> tuple[int, int]:
        """Channels of an input and of a target."""

    @abstractmethod
    def take(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets of some samples, by number: this rank's blocks, (sample, channel, *local_shape), on the domain's device."""

    @abstractmethod
    def typical(self) -> tuple[Tensor, Tensor]:
        """Inputs and targets to take mean and deviation from: all of them, or enough."""

    def ahead(self, updates: "Iterable[list[Batch]]") -> "Iterator[list[Batch]]":
        """The same updates; what they need is on its way before it is taken, where that takes time."""
        yield from updates

    def close(self) -> None:  # noqa: B027  what lies in memory has nothing to close
        """Close files, if there are any."""


@dataclass(frozen=True)
class Pairs(Samples):
    """Inputs and targets in memory.

    Attributes
    ----------
    domain : Domain
        Where the fields live.
    inputs, targets : Tensor
        (sample, channel, *local_shape); every group of ranks holds all samples. They may lie on the host or where the domain computes.
    meaning : Meaning, optional
        What they stand for.
    """

    domain: Domain
    inputs: Tensor
    targets: Tensor
    meaning: Meaning | None = None

    def __post_init__(self) -> None:
        for name, field in (("inputs", self.inputs), ("targets", self.targets)):
            if tuple(field.shape[2:]) != self.domain.local_shape or field.shape[0] != self.inputs.shape[0]:
                raise ShapeError(
                    f"rank {self.domain.comm.rank}: {name} must be (sample, channel, *{self.domain.local_shape}) with as many samples as "
                    f"the inputs, got {tuple(field.shape)}"
                )

    @classmethod
    def of_whole(cls, domain: Domain, inputs: Tensor | np.ndarray, targets: Tensor | np.ndarray) -> "Pairs":
        """Take this rank's blocks of whole fields.

        Parameters
        ----------
        domain : Domain
            Where the fields live.
        inputs, targets : Tensor or ndarray
            (sample, channel, *global_shape), the same on every rank.

        Raises
        ------
        ShapeError
            If they are not of that shape.

        Communication
        -------------
        Local.
        """
        whole = torch.as_tensor(inputs), torch.as_tensor(targets)
        for field in whole:
            if tuple(field.shape[2:]) != domain.global_shape:
                raise ShapeError(f"whole fields are (sample, channel, *{domain.global_shape}), got {tuple(field.shape)}")
        x, y = (field[domain.index].contiguous() for field in whole)
        return cls(domain, x, y)

    @classmethod
    def none(cls, domain: Domain, num_channels: tuple[int, int]) -> "Pairs":
        """No pairs at all."""
        inputs, targets = (torch.zeros(0, channels, *domain.local_shape) for channels in num_channels)
        return cls(domain, inputs, targets)

    @property
    def num_samples(self) -> int:
        return self.inputs.shape[0]

    @property
    def num_channels(self) -> tuple[int, int]:
        return self.inputs.shape[1], self.targets.shape[1]

    def take(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        inputs, targets = to_device(self.domain.device, self.inputs[samples], self.targets[samples])
        return inputs, targets

    def typical(self) -> tuple[Tensor, Tensor]:
        return self.inputs, self.targets


@named_call
def moments(domain: Domain, fields: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every channel over samples and the whole grid, each of shape (channel,).

    Communication
    -------------
    Collective over domain.comm: two all-reduces.
    """
    dims = [d for d in range(fields.dim()) if d != 1]
    count = fields.shape[0] * domain.grid.num_cells
    wide = fields.double()
    mean = all_sum(wide.sum(dims), domain.comm) / count
    variance = all_sum((wide - mean.view(-1, *(1,) * domain.num_dims)).square().sum(dims), domain.comm) / count
    return mean.to(fields.dtype), variance.sqrt().to(fields.dtype)


@dataclass(frozen=True, slots=True)
class Batch:
    """One part of an update.

    Attributes
    ----------
    samples : Tensor
        Numbers of the samples of this group's share, int64.
    weight : float
        Samples of this part over samples of the update, all groups counted: what its mean loss weighs.
    """

    samples: Tensor
    weight: float


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
        share = block_range(piece.size, self.num_groups, self.group)
        chosen = samples[piece.start + share.start : piece.start + share.stop]
        return Batch(torch.as_tensor(chosen), piece.size / len(samples))
