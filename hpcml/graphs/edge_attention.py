"""Attention along edges, which keeps values of nodes for its derivatives, and of edges one number for each head.

    a . b    (a . b)_e = <a_end(e), b_begin(e)>         gradients    a' = c > b        b' = c < a
    w > b    (w > b)_i = sum_{e into i}  w_e b_begin(e)              w' = y . b        b' = w < y
    w < a    (w < a)_j = sum_{e out of j} w_e a_end(e)               w' = a . y        a' = w > y

The three are each other's derivatives, so that any order of them is of these three, and nothing as large as edges times channels is kept.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hpcml.graphs.aggregation import aggregate, has_kernel
from hpcml.kernels.segment import Edges, gather_sum

if TYPE_CHECKING:
    from hpcml.graphs.graph import Graph


def edge_products(graph: "Graph", a: Tensor, b: Tensor) -> Tensor:
    """Inner product of what two tensors have at the ends of each edge: scores of attention.

    Parameters
    ----------
    graph : Graph
        Whose edges.
    a : Tensor
        ([sample,] node, head, channel): of the node at which an edge ends.
    b : Tensor
        ([sample,] node + ghost, head, channel): of the node at which it begins, see `Graph.with_ghosts`.

    Returns
    -------
    Tensor
        ([sample,] edge, head), in float32 or wider; differentiable any number of times.

    Communication
    -------------
    Local. Deterministic.

    Examples
    --------
    >>> import numpy as np
    >>> from mpi4py import MPI
    >>> from hpcml.graphs import Graph
    >>> graph = Graph.deal(np.array([[0.0], [1.0]]), np.array([[0], [1]]), MPI.COMM_SELF)
    >>> x = torch.tensor([2.0, 3.0]).view(2, 1, 1)
    >>> edge_products(graph, x, x).tolist(), weighted_sum(graph, torch.ones(1, 1), x).flatten().tolist()
    ([[6.0]], [0.0, 2.0])
    """
    result: Any = _Dot.apply(_held(graph), a.movedim(-3, 0), b.movedim(-3, 0))
    return result.movedim(0, -2)


def weighted_sum(graph: "Graph", weights: Tensor, b: Tensor) -> Tensor:
    """What comes to each node along its edges from where they begin, each with a weight.

    Parameters
    ----------
    graph : Graph
        Whose edges.
    weights : Tensor
        ([sample,] edge, head).
    b : Tensor
        ([sample,] node + ghost, head, channel), see `Graph.with_ghosts`.

    Returns
    -------
    Tensor
        ([sample,] node, head, channel), in float32 or wider; differentiable any number of times.

    Communication
    -------------
    Local. Deterministic; sums go in the order of the edges.
    """
    result: Any = _Into.apply(_held(graph), weights.movedim(-2, 0), b.movedim(-3, 0))
    return result.movedim(0, -3)


@dataclass(frozen=True, slots=True)
class _Edges:
    """Edges of a graph as they are when values are computed; it may have moved when gradients are."""

    edge_index: Tensor
    into: Edges
    begins: Edges


def _held(graph: "Graph") -> _Edges:
    return _Edges(graph.edge_index, graph._into, graph._begins)


class _Product(torch.autograd.Function):
    """What the three have in common: the gradient of an argument has its dtype."""

    @staticmethod
    def setup_context(ctx, inputs, output):  # type: ignore[no-untyped-def]
        ctx.graph, *tensors = inputs
        ctx.save_for_backward(*tensors)


class _Dot(_Product):
    @staticmethod
    def forward(graph: _Edges, a: Tensor, b: Tensor):  # type: ignore[no-untyped-def,override]
        begin, end = graph.edge_index
        return (_rows(a, end) * _rows(b, begin)).sum(-1)

    @staticmethod
    def backward(ctx, c: Tensor):  # type: ignore[no-untyped-def,override]
        a, b = ctx.saved_tensors
        first, second = ctx.needs_input_grad[1:]
        return None, _Into.apply(ctx.graph, c, b).to(a) if first else None, _OutOf.apply(ctx.graph, c, a).to(b) if second else None


class _Into(_Product):
    @staticmethod
    def forward(graph: _Edges, w: Tensor, b: Tensor):  # type: ignore[no-untyped-def,override]
        begin, end = graph.edge_index
        return aggregate(_rows(b, begin).mul_(w.unsqueeze(-1)), end, graph.into, "sum")

    @staticmethod
    def backward(ctx, y: Tensor):  # type: ignore[no-untyped-def,override]
        w, b = ctx.saved_tensors
        first, second = ctx.needs_input_grad[1:]
        return None, _Dot.apply(ctx.graph, y, b).to(w) if first else None, _OutOf.apply(ctx.graph, w, y).to(b) if second else None


class _OutOf(_Product):
    @staticmethod
    def forward(graph: _Edges, w: Tensor, a: Tensor):  # type: ignore[no-untyped-def,override]
        begin, end = graph.edge_index
        messages = _rows(a, end).mul_(w.unsqueeze(-1))
        if has_kernel(messages):
            return gather_sum(messages, graph.begins.transposed)
        return messages.new_zeros(graph.begins.num_rows, *messages.shape[1:]).index_add(0, begin, messages)

    @staticmethod
    def backward(ctx, y: Tensor):  # type: ignore[no-untyped-def,override]
        w, a = ctx.saved_tensors
        first, second = ctx.needs_input_grad[1:]
        return None, _Dot.apply(ctx.graph, a, y).to(w) if first else None, _Into.apply(ctx.graph, w, y).to(a) if second else None


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """Rows of a tensor, newly made, in float32 or wider."""
    rows = x.index_select(0, index)
    return rows.float() if x.dtype in (torch.float16, torch.bfloat16) else rows
