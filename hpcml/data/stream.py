"""What a trainer learns from: update after update, wherever the fields come from."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

from mpi4py import MPI
from torch import Tensor, nn

from hpcml.parallel.space import Space

Part = tuple[Tensor, Tensor, float]
"""Inputs and targets, (sample, channel, *local_shape), and the weight of their mean loss in the update's; those of all parts sum to 1."""

Watched = Callable[[Any, Tensor, Tensor], Tensor]
"""``loss(space, prediction, target)``."""


class Taken(tuple[Tensor, Tensor, float]):
    """A `Part` of samples that have numbers, by which whatever is random about them is keyed.

    Attributes
    ----------
    numbers : list of int
        Of the samples, among those of all groups.
    space : Space
        Where they live.
    """

    numbers: list[int]
    space: Space

    @classmethod
    def of(cls, part: Part, numbers: list[int], space: Space) -> Self:
        """Say which samples a part has."""
        taken = cls(part)
        taken.numbers, taken.space = numbers, space
        return taken


class Stream(ABC):
    """Updates to learn from: passes over stored data (`Epochs`), or fields that come while one trains, as from a simulation in progress.

    Iterating gives this rank's parts of each update, from where the stream stands. What is given out counts as done, so that a state taken
    before the next one is asked for goes on with that one. Where iterating ends, an epoch is over, and iterating again gives the next; a
    stream that then gives nothing has ended.

    Attributes
    ----------
    space : Space
        Where the fields live.
    num_updates : int or None
        Updates of an epoch; None where there are no epochs.

    Communication
    -------------
    As the stream says. Every rank is given as many updates, and every rank of a group the blocks of the same samples.

    Examples
    --------
    A solver that steps while one trains; its state is saved with the rest, and a restart goes on from there:

    >>> import torch
    >>> class Decay(Stream):
    ...     def __init__(self, domain):
    ...         self.space, self.u = domain, torch.ones(1, 1, *domain.local_shape)
    ...
    ...     def __iter__(self):
    ...         while True:
    ...             before, self.u = self.u, 0.9 * self.u
    ...             yield [(before, self.u, 1.0)]
    ...
    ...     def state_dict(self):
    ...         return {"u": self.space.gather(self.u)}
    ...
    ...     def load_state_dict(self, state):
    ...         self.u = self.space.scatter(state["u"])
    """

    space: Space
    num_updates: int | None = None

    @property
    def world_comm(self) -> MPI.Intracomm:
        """All ranks that train one model."""
        return self.space.world_comm

    @abstractmethod
    def __iter__(self) -> Iterator[Iterable[Part]]:
        """Parts of each update; those of one may be gone through several times, and each may be made when it is asked for."""

    def watched(self, model: nn.Module, loss: Watched) -> Watched:
        """The loss that updates minimise, called once with the model that learns: for a stream that looks at what is predicted."""
        return loss

    def numbers(self) -> dict[str, float]:
        """What a row of metrics says of it, on all ranks; called on all of them."""
        return {}

    def close(self) -> None:  # noqa: B027  most have nothing to close
        """Called on all ranks once training has ended."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Where it stands, as `hpcml.io.checkpoint` stores it: the same on every rank, or in `Rows`."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there, on any number of ranks."""
