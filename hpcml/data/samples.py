"""Pairs of fields to learn from: this rank's part of every sample."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.core.errors import ConfigError, ShapeError
from hpcml.data.schedule import Batch
from hpcml.data.stream import Taken
from hpcml.fields.domain import Domain
from hpcml.io.dataset import Meaning
from hpcml.mpi.host_copy import to_device
from hpcml.parallel.space import Space

AHEAD = 2
"""Updates that are read while one is computed."""


class Samples(ABC):
    """Numbered pairs of fields on a space, wherever they lie.

    Attributes
    ----------
    space : Space
        Where the fields live.
    meaning : Meaning or None
        What the fields stand for, where that is known.
    """

    space: Space
    meaning: Meaning | None

    @property
    def domain(self) -> Domain:
        """The space, where it is a grid.

        Raises
        ------
        ConfigError
            Where it is not.
        """
        if not isinstance(self.space, Domain):
            raise ConfigError(f"expected fields on a grid, got fields on a {type(self.space).__name__}")
        return self.space

    @property
    def world_comm(self) -> MPI.Intracomm:
        """All ranks that train one model."""
        return self.space.world_comm

    @property
    def groups(self) -> tuple[int, int]:
        """Groups of ranks that take samples of their own, and this rank's."""
        return self.space.num_data, self.space.data_index

    @property
    def spaces(self) -> list[Space]:
        """Where samples live: one, but for those of `hpcml.data.Several`."""
        return [self.space]

    @property
    def costs(self) -> list[int] | None:
        """What each sample costs, where they differ."""
        return None

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
        """Inputs and targets of some samples, by number: (sample, channel, *local_shape) on a grid, on the device of the space."""

    def taken(self, batch: Batch) -> Iterator[Taken]:
        """Parts of a batch, each on one space."""
        yield Taken.of((*self.take(batch.samples), batch.weight), batch.samples.tolist(), self.space)

    @abstractmethod
    def typical(self) -> tuple[Tensor, Tensor]:
        """Inputs and targets of one step to take mean and deviation from: all of them, or enough."""

    def typical_on_each(self) -> list[tuple[Space, Tensor, Tensor]]:
        """The same of every space."""
        return [(self.space, *self.typical())]

    def expect(self, samples: Tensor) -> None:  # noqa: B027  what lies in memory is there
        """Begin to read samples that will be taken, in this order, where that takes time."""

    def ahead(self, updates: Iterable[list[Batch]]) -> Iterator[list[Batch]]:
        """The same updates; what they need is on its way before it is taken."""
        waiting: deque[list[Batch]] = deque()
        for parts in updates:
            for batch in parts:
                self.expect(batch.samples)
            waiting.append(parts)
            if len(waiting) > AHEAD:
                yield waiting.popleft()
        yield from waiting

    def close(self) -> None:  # noqa: B027  what lies in memory has nothing to close
        """Close files, if there are any."""


@dataclass(frozen=True)
class Pairs(Samples):
    """Inputs and targets in memory.

    Attributes
    ----------
    space : Space
        Where the fields live.
    inputs, targets : Tensor
        (sample, channel, *local_shape), or as the space has it; every group of ranks holds all samples. They may lie on the host or where
        the space computes. Targets of several steps are (sample, step, channel, *local_shape).
    meaning : Meaning, optional
        What they stand for.
    """

    space: Space
    inputs: Tensor
    targets: Tensor
    meaning: Meaning | None = None

    def __post_init__(self) -> None:
        for name, field, most in (("inputs", self.inputs, 1), ("targets", self.targets, 2)):
            if not _holds(self.space, field, self.space.local_shape, most) or field.shape[0] != self.inputs.shape[0]:
                raise ShapeError(
                    f"rank {self.space.comm.rank}: {name} must be {_form(self.space, self.space.local_shape)} with as many samples as the "
                    f"inputs, got {tuple(field.shape)}"
                )

    @classmethod
    def of_whole(cls, space: Space, inputs: Tensor | np.ndarray, targets: Tensor | np.ndarray) -> "Pairs":
        """Take this rank's part of whole fields.

        Parameters
        ----------
        space : Space
            Where the fields live.
        inputs, targets : Tensor or ndarray
            (sample, channel, *global_shape), or as the space has it, the same on every rank; targets of several steps (sample, step,
            channel, *global_shape).

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
            if not _holds(space, field, space.global_shape, 2):
                raise ShapeError(f"whole fields are {_form(space, space.global_shape)}, got {tuple(field.shape)}")
        x, y = (field[space.index].contiguous() for field in whole)
        return cls(space, x, y)

    @classmethod
    def of_trajectories(cls, space: Space, states: Tensor | np.ndarray, steps: int = 1) -> "Pairs":
        """Pair every state of whole trajectories with the one that follows, or with as many as there shall be steps.

        Parameters
        ----------
        space : Space
            Where the fields live.
        states : Tensor or ndarray
            (trajectory, time, channel, *global_shape), or as the space has it, the same on every rank.
        steps : int
            States that follow.

        Raises
        ------
        ShapeError
            If they are not of that shape, or too few.

        Communication
        -------------
        Local.
        """
        whole = torch.as_tensor(states)
        if whole.dim() != space.num_dims + 3 or space.points_in(whole.shape) != space.global_shape or whole.shape[1] <= steps:
            expected = f"{_form(space, space.global_shape, 'trajectory, time')} with more than {steps} times"
            raise ShapeError(f"trajectories are {expected}, got {tuple(whole.shape)}")
        last = whole.shape[1] - steps
        later = torch.stack([whole[:, step : last + step] for step in range(1, steps + 1)], 2).flatten(0, 1)
        return cls.of_whole(space, whole[:, :last].flatten(0, 1), later if steps > 1 else later[:, 0])

    @classmethod
    def none(cls, space: Space, num_channels: tuple[int, int]) -> "Pairs":
        """No pairs at all."""
        inputs, targets = (torch.zeros(space.field_shape(0, channels)) for channels in num_channels)
        return cls(space, inputs, targets)

    @property
    def num_samples(self) -> int:
        return self.inputs.shape[0]

    @property
    def num_channels(self) -> tuple[int, int]:
        last = self.space.channel_dim == -1
        return self.inputs.shape[self.space.channel_dim], self.targets.shape[-1 if last else -1 - self.space.num_dims]

    def take(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        inputs, targets = to_device(self.space.device, self.inputs[samples], self.targets[samples])
        return inputs, targets

    def typical(self) -> tuple[Tensor, Tensor]:
        return self.inputs, self.targets if self.targets.dim() == self.inputs.dim() else self.targets[:, 0]


def _holds(space: Space, field: Tensor, points: tuple[int, ...], most: int) -> bool:
    """Whether a tensor has these points, and before them or the channels one dim, or up to ``most``."""
    return 1 <= field.dim() - space.num_dims - 1 <= most and space.points_in(field.shape) == points


def _form(space: Space, points: tuple[int, ...], leading: str = "sample") -> str:
    return f"({leading}, channel, *{points})" if space.channel_dim == 1 else f"({leading}, *{points}, channel)"
