"""From nodes to edges and from edges to nodes, on one rank: what message passing is made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hpcml.core.errors import ConfigError
from hpcml.kernels.segment import Edges, gather_sum
from hpcml.parallel.tiles import by_tile, joined

AGGREGATIONS = ("sum", "mean", "max")


@dataclass(frozen=True, slots=True)
class Taken:
    """Rows of a tensor that are not taken yet: whoever needs them takes them, some at a time for one.

    Attributes
    ----------
    values : Tensor
        ([sample,] row, channel).
    rows : Edges
        With one edge to each row of the result, see `take_rows`.
    """

    values: Tensor
    rows: Edges


def take_rows(x: Tensor, rows: Edges) -> Tensor:
    """Rows of a tensor, (row, ...) to (edge, ...): that of each edge.

    Parameters
    ----------
    x : Tensor
        (row, ...).
    rows : Edges
        With one edge to each row of the result.

    Communication
    -------------
    Local. Deterministic, the gradient included.
    """
    return gather_sum(x, rows) if has_kernel(x) else x.index_select(0, rows.source)


def aggregate(messages: Tensor, ends: Tensor, into: Edges, how: str) -> Tensor:
    """What comes to each node along its edges.

    Parameters
    ----------
    messages : Tensor
        (edge, ...).
    ends : Tensor
        int64, (edge,): the node at which each ends.
    into : Edges
        The same as `Edges.into`.
    how : str
        ``sum``, ``mean`` or ``max``; zeros without an edge. Where several messages are the largest, they share the gradient.

    Returns
    -------
    Tensor
        (node, ...).

    Raises
    ------
    ConfigError
        For another name.

    Communication
    -------------
    Local. Sums go in the order of the edges, in float32 or wider.

    Examples
    --------
    >>> ends = torch.tensor([0, 0, 2])
    >>> aggregate(torch.tensor([[1.0], [5.0], [7.0]]), ends, Edges.into(ends, 3), "mean").flatten().tolist()
    [3.0, 0.0, 7.0]
    """
    if how not in AGGREGATIONS:
        raise ConfigError(f"messages are aggregated by {', '.join(AGGREGATIONS)}, got {how!r}")
    nodes = into.num_segments
    if how == "max":
        index = ends.view(-1, *(1,) * (messages.dim() - 1)).expand_as(messages)
        return messages.new_zeros(nodes, *messages.shape[1:]).scatter_reduce(0, index, messages, "amax", include_self=False)
    wide = messages.float() if messages.dtype in (torch.float16, torch.bfloat16) else messages
    total = gather_sum(wide, into) if has_kernel(wide) else wide.new_zeros(nodes, *wide.shape[1:]).index_add(0, ends, wide)
    if how == "mean":
        total = total / into.first.diff().clamp(min=1).view(-1, *(1,) * (messages.dim() - 1))
    return total.to(messages.dtype)


def softmax(scores: Tensor, ends: Tensor, into: Edges, sizes: Sequence[int] | None = None) -> Tensor:
    """Weights of the edges that end at a node, which sum to one.

        w_e = exp(s_e) / sum of exp(s_f) over the edges f that end where e does

    Parameters
    ----------
    scores : Tensor
        (edge, ...).
    ends, into
        As for `aggregate`.
    sizes : sequence of int, optional
        Edges of each tile, where an exponential is to be rounded alike whatever else a rank has.

    Returns
    -------
    Tensor
        (edge, ...).

    Communication
    -------------
    Local.
    """
    less = scores - aggregate(scores.detach(), ends, into, "max").index_select(0, ends)
    weights = torch.exp(less) if sizes is None else joined(by_tile(lambda _, rows: torch.exp(rows), sizes, 0, less), 0)
    return weights / aggregate(weights, ends, into, "sum").index_select(0, ends)


def has_kernel(x: Tensor) -> bool:
    """Whether rows of a tensor are summed by a kernel.

    Communication
    -------------
    Local.
    """
    return x.dtype in (torch.float32, torch.float64) and x.device.type in ("cpu", "cuda")


def on_rows(operation: Callable[..., Tensor], x: Tensor, *how: object) -> Tensor:
    """Apply what works along the first dim along the last but one.

    Communication
    -------------
    Local, as the operation.
    """
    return operation(x.movedim(-2, 0), *how).movedim(0, -2)
