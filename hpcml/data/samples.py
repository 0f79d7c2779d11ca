"""Pairs of fields to learn from: this rank's block of every sample."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hpcml.core.errors import ShapeError
from hpcml.data.schedule import Batch
from hpcml.fields.domain import Domain
from hpcml.io.dataset import Meaning
from hpcml.mpi.host_copy import to_device


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
        """Inputs and targets of one step to take mean and deviation from: all of them, or enough."""

    def ahead(self, updates: Iterable[list[Batch]]) -> Iterator[list[Batch]]:
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
        Targets of several steps are (sample, step, channel, *local_shape).
    meaning : Meaning, optional
        What they stand for.
    """

    domain: Domain
    inputs: Tensor
    targets: Tensor
    meaning: Meaning | None = None

    def __post_init__(self) -> None:
        local = self.domain.local_shape
        for name, field, most in (("inputs", self.inputs, 2), ("targets", self.targets, 3)):
            leading, cells = tuple(field.shape[: -len(local)]), tuple(field.shape[-len(local) :])
            if cells != local or not 2 <= len(leading) <= most or leading[0] != self.inputs.shape[0]:
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
            (sample, channel, *global_shape), the same on every rank; targets of several steps (sample, step, channel, *global_shape).

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
            if tuple(field.shape[-domain.num_dims :]) != domain.global_shape:
                raise ShapeError(f"whole fields are (sample, channel, *{domain.global_shape}), got {tuple(field.shape)}")
        x, y = (field[domain.index].contiguous() for field in whole)
        return cls(domain, x, y)

    @classmethod
    def of_trajectories(cls, domain: Domain, states: Tensor | np.ndarray, steps: int = 1) -> "Pairs":
        """Pair every state of whole trajectories with the one that follows, or with as many as there shall be steps.

        Parameters
        ----------
        domain : Domain
            Where the fields live.
        states : Tensor or ndarray
            (trajectory, time, channel, *global_shape), the same on every rank.
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
        if tuple(whole.shape[3:]) != domain.global_shape or whole.shape[1] <= steps:
            expected = f"(trajectory, time, channel, *{domain.global_shape}) with more than {steps} times"
            raise ShapeError(f"trajectories are {expected}, got {tuple(whole.shape)}")
        last = whole.shape[1] - steps
        later = torch.stack([whole[:, step : last + step] for step in range(1, steps + 1)], 2).flatten(0, 1)
        return cls.of_whole(domain, whole[:, :last].flatten(0, 1), later if steps > 1 else later[:, 0])

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
        return self.inputs.shape[1], self.targets.shape[-1 - self.domain.num_dims]

    def take(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        inputs, targets = to_device(self.domain.device, self.inputs[samples], self.targets[samples])
        return inputs, targets

    def typical(self) -> tuple[Tensor, Tensor]:
        return self.inputs, self.targets if self.targets.dim() == self.inputs.dim() else self.targets[:, 0]
