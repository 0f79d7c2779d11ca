"""When the ghosts of a graph travel, and from when they are: what all models on one graph have in common."""

from collections.abc import Sequence

from torch import Tensor

from hpcml.core.errors import ConfigError
from hpcml.graphs.ghost_plan import GhostPlan
from hpcml.parallel.space import Space


class Schedule:
    """Synchronous: whoever asks for ghosts waits for them.

    Attributes
    ----------
    overlaps : bool
        Whether edges that begin at own nodes are computed while ghosts travel, see `hpcml.graphs.on_edges`.

    Communication
    -------------
    `ghosts`: one message to each neighbor, in the gradient too.
    """

    overlaps = False

    def ghosts(self, plan: GhostPlan, x: Tensor) -> Tensor:
        """Rows of the ghosts, (ghost, ...), of those of own nodes, (node, ...)."""
        return plan.ghosts(x)

    def visit(self, samples: Sequence[int]) -> None:
        """Say which samples are computed next, by numbers that are theirs in every epoch."""


class Overlapped(Schedule):
    """Ghosts travel while edges that need none of them are computed; their gradients while those of these edges are.

    Results are those of the synchronous schedule but for rounding, as products have other shapes. What does not ask by
    `hpcml.graphs.on_edges` waits, as without it.

    Examples
    --------
    >>> import numpy as np
    >>> from mpi4py import MPI
    >>> from hpcml.graphs import Graph
    >>> graph = Graph.deal(np.zeros((2, 1)), np.array([[0], [1]]), MPI.COMM_SELF)
    >>> graph.schedule = Overlapped()
    """

    overlaps = True


SYNCHRONOUS = Schedule()


class Scheduled(Space):
    """A space with edges, whose ghosts travel by a schedule."""

    @property
    def schedule(self) -> Schedule:
        """When they travel: that of all graphs on the same decomposition. Set it on all ranks alike."""
        return self._shared.schedule or SYNCHRONOUS

    @schedule.setter
    def schedule(self, schedule: Schedule) -> None:
        if self.tiles is not None and schedule is not SYNCHRONOUS:
            raise ConfigError("a space made with same_bits=True has one order of work, the synchronous: leave the schedule or that out")
        self._shared.schedule = schedule

    def visit(self, samples: Sequence[int]) -> None:
        """Say which samples are computed next, by numbers that are theirs in every epoch: what a schedule that remembers goes by."""
        self.schedule.visit(samples)
