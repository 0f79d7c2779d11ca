"""Ghosts of the last epoch: nobody waits for a message, and what comes is for the next time.

    forward   ghosts of sample s in epoch t    g_t = f_{t-1}            f_t = m f_{t-1} + (1 - m) F x_t
    backward  what comes back for own nodes    x'_t = a_{t-1}           a_t = m a_{t-1} + (1 - m) F* y'_t

C. Wan and others, PipeGCN: efficient full-graph training of graph convolutional networks with pipelined feature communication,
International Conference on Learning Representations 2022, arXiv:2203.10428.
"""

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hpcml.core.errors import ConfigError
from hpcml.graphs.ghost_plan import GhostPlan, begin, begin_back, end, end_back
from hpcml.graphs.history import History
from hpcml.graphs.schedule import Schedule
from hpcml.mpi.call_function import CallFunction
from hpcml.parallel.linear import uncompiled

if TYPE_CHECKING:
    from hpcml.graphs.graph import Graph

_log = logging.getLogger(__name__)


class Stale(Schedule):
    """Ghosts, and gradients that come back for them, are those of the last time that a sample was seen.

    Parameters
    ----------
    smoothing : float
        Share that the values before keep when new ones come, from 0 to less than 1.

    Raises
    ------
    ConfigError
        For another smoothing; when ghosts are asked for and samples have no numbers, see `hpcml.graphs.Graph.visit`, or within a
        recomputation, which would be another visit.

    Communication
    -------------
    `ghosts`: one message to each neighbor, backward too, which the next ghosts wait for, or the next batch. The first time that a sample
    comes it is waited for at once, and so it is where no gradient is asked for: validation and roll-outs are exact.

    Notes
    -----
    With parameters that stand still all is as in the synchronous schedule, from the second epoch on. Each sample needs memory for its
    ghosts and as many own nodes, at each place where ghosts are asked for: one field, or few, on a large mesh is what it is made for.

    Examples
    --------
    >>> import numpy as np
    >>> from mpi4py import MPI
    >>> from hpcml.graphs import Graph
    >>> graph = Graph.deal(np.zeros((2, 1)), np.array([[0], [1]]), MPI.COMM_SELF)
    >>> graph.schedule = Stale(smoothing=0.5)
    >>> graph.visit([0])                       # what comes next is sample 0
    >>> graph.with_ghosts(torch.ones(1, 2, 3, requires_grad=True)).shape
    torch.Size([1, 2, 3])
    """

    def __init__(self, smoothing: float = 0.5) -> None:
        if not 0 <= smoothing < 1:
            raise ConfigError(f"smoothing keeps a share from 0 to less than 1, got {smoothing}")
        self.smoothing, self.history = smoothing, History()
        self._site, self._coming = 0, list[Callable[[], None]]()

    def visit(self, samples: Sequence[int]) -> None:
        """Say which samples are computed next, by numbers that are theirs in every epoch."""
        self.settle()
        self.history.visit(samples)
        self._site = 0

    @uncompiled
    def ghosts(self, plan: GhostPlan, x: Tensor) -> Tensor:
        """Rows of the ghosts, (ghost, [sample,] channel), of those of own nodes."""
        if not (torch.is_grad_enabled() and x.requires_grad):
            return plan.ghosts(x)
        self.history.check(x)
        if torch._C._current_graph_task_id() != -1:
            raise ConfigError("stale ghosts cannot be asked for in a recomputation: leave training.recompute and pipelines out")
        self._site += 1
        rows: Tensor = _Stale.apply(self, plan, str(self._site), x if x.dim() > 2 else x[:, None])
        return rows if x.dim() > 2 else rows[:, 0]

    def settle(self) -> None:
        """Take in what has been sent for the next time.

        Communication
        -------------
        Waits for the neighbors.
        """
        while self._coming:
            self._coming.pop(0)()

    def exchanged(self, place: str, rows: Tensor, finish: Callable[[Tensor], Tensor], samples: tuple[int, ...]) -> Tensor:
        """What to use in place of what is under way, which is kept for the next time."""
        known = self.history.known(place, samples)
        if known is None:
            known = finish(rows).clone()
            self.history.keep(place, known, samples)
        else:
            self._coming.append(lambda: self.history.keep(place, finish(rows), samples, self.smoothing))
        return known

    def state_dict(self, graph: "Graph") -> dict[str, Any]:
        """What is remembered, for a checkpoint."""
        self.settle()
        return self.history.state_dict(graph)

    def load_state_dict(self, state: dict[str, Any], graph: "Graph") -> None:
        """Go on from there; on other ranks from nothing, that is with a synchronous visit of each sample."""
        self._coming.clear()
        if not self.history.load_state_dict(state, graph):
            _log.info("stale ghosts were saved for nodes that were dealt otherwise: each sample begins with a synchronous exchange")


class _Stale(CallFunction):
    @staticmethod
    def forward(ctx, schedule: Stale, plan: GhostPlan, place: str, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def,override]
        schedule.settle()
        ctx.how = schedule, plan, place, schedule.history.samples
        return schedule.exchanged(f"ghosts {place}", begin(plan, x), lambda rows: end(plan, rows), schedule.history.samples)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, y: Tensor):  # type: ignore[no-untyped-def]
        schedule, plan, place, samples = ctx.how
        schedule.settle()
        return None, None, None, schedule.exchanged(f"sums {place}", begin_back(plan, y), lambda rows: end_back(plan, rows), samples)
