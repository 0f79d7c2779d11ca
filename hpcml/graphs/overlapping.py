"""A function of edges, applied to those that begin at own nodes while the ghosts, where the others begin, travel.

    start F x        y_e = f(x_begin(e), ...) for inner e        wait for F x        y_e = f((F x)_begin(e), ...) for outer e

Each half is linear, with the adjoint's other half as its adjoint: backward the gradients of outer edges come first, start on their way
back, and are waited for after those of inner edges.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hpcml.graphs.aggregation import Taken, on_rows, take_rows
from hpcml.graphs.ghost_plan import begin, begin_back, end, end_back
from hpcml.kernels.segment import Edges
from hpcml.mpi.call import named_call
from hpcml.parallel.linear import pair, uncompiled

if TYPE_CHECKING:
    from hpcml.graphs.graph import Graph

_begin, _ = pair(lambda plan, x: (begin(plan, x),), lambda plan, rows: (end_back(plan, rows),), batch=(1, 1))
_end, _ = pair(lambda plan, rows: (end(plan, rows),), lambda plan, y: (begin_back(plan, y),), batch=(1, 1))


@uncompiled
@named_call
def on_edges(graph: "Graph", function: Callable[..., Tensor], begins: Tensor, ends: Tensor, *edges: Tensor, taken: bool = True) -> Tensor:
    """Apply a function to what edges have and what lies at their ends; where the graph's schedule overlaps, to some of them at a time.

    Parameters
    ----------
    graph : Graph
        Whose edges.
    function : callable
        ``function(*edges, at_begins, at_ends)`` to ([sample,] edge, channel), for any of the edges, each alone.
    begins, ends : Tensor
        ([sample,] node, channel): values of own nodes, for the edges that begin, and that end there.
    *edges : Tensor
        ([sample,] edge, channel).
    taken : bool
        Whether the function is given tensors; else `hpcml.graphs.aggregation.Taken`, whose rows it takes itself. Not on tiles.

    Returns
    -------
    Tensor
        ([sample,] edge, channel); differentiable any number of times.

    Communication
    -------------
    Neighbors, in the gradient too. With `hpcml.graphs.Overlapped` ghosts travel while edges without them are computed.

    Examples
    --------
    >>> import numpy as np
    >>> from mpi4py import MPI
    >>> from hpcml.graphs import Graph
    >>> graph, x = Graph.deal(np.zeros((2, 1)), np.array([[0], [1]]), MPI.COMM_SELF), torch.tensor([[2.0], [3.0]])
    >>> on_edges(graph, lambda begin, end: begin - end, x, x).tolist()
    [[-1.0]]
    """
    if not graph.schedule.overlaps:
        if taken:
            return function(*edges, graph.at_begins(begins), graph.at_ends(ends))
        return function(*edges, Taken(graph.with_ghosts(begins), graph._begins), Taken(ends, graph._ends))
    parts: EdgeParts = graph.once("parts of edges", lambda _: EdgeParts.of(graph.edge_index, len(graph.nodes), len(graph.ghosts)))

    def part(k: int, at_begins: Tensor) -> Tensor:
        given = (on_rows(take_rows, value, parts.own[k]) for value in edges)
        at = Taken(at_begins, parts.begins[k]), Taken(ends, parts.ends[k])
        return function(*given, *((on_rows(take_rows, of.values, of.rows) for of in at) if taken else at))

    plan = graph._plan
    (travelling,) = _begin(plan, begins.movedim(-2, 0))
    inner = part(0, begins)
    (ghosts,) = _end(plan, travelling)
    return on_rows(take_rows, torch.cat([inner, part(1, ghosts.movedim(0, -2))], -2), parts.order)


@dataclass(frozen=True, slots=True)
class EdgeParts:
    """Edges of a rank that begin at its own nodes, the inner ones, and those that begin at ghosts, the outer ones.

    Attributes
    ----------
    own : tuple of Edges
        Rows of inner and of outer edges, of all.
    begins : tuple of Edges
        Rows of own nodes for inner edges, of ghosts for outer ones.
    ends : tuple of Edges
        Rows of own nodes.
    order : Edges
        Rows of inner and then outer edges, for all edges in their order.
    """

    own: tuple[Edges, Edges]
    begins: tuple[Edges, Edges]
    ends: tuple[Edges, Edges]
    order: Edges

    @classmethod
    def of(cls, edge_index: Tensor, num_nodes: int, num_ghosts: int) -> "EdgeParts":
        """Sort the edges of a rank."""
        begin, end = edge_index
        outer = begin >= num_nodes
        rows = [torch.nonzero(of).flatten() for of in (~outer, outer)]
        ghosts, count = begin[rows[1]] - num_nodes, len(begin)
        return cls(
            (_taking(rows[0], count), _taking(rows[1], count)),
            (_taking(begin[rows[0]], num_nodes), _taking(ghosts, num_ghosts)),
            (_taking(end[rows[0]], num_nodes), _taking(end[rows[1]], num_nodes)),
            _taking(torch.argsort(torch.cat(rows)), count),
        )

    def close(self) -> None:
        """Nothing is held."""


def _taking(rows: Tensor, count: int) -> Edges:
    """One row of so many for each row of the result."""
    return Edges(torch.arange(len(rows) + 1, device=rows.device), rows.contiguous(), count)
