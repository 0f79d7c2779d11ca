"""Segment sums and gathers over lists of edges: message passing, and the adjoint of each by the other.

With A[s, r] the number of edges from row r to segment s:

    gather_sum(x, edges) = A x,        its adjoint = A^T y = gather_sum(y, edges.transposed)
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hpcml.core.errors import ShapeError
from hpcml.kernels.kernel import Kernel
from hpcml.kernels.segment_twin import gather_sum_twin, gather_twin

GATHER_SUM = Kernel("segment", "gather_sum", gather_sum_twin)
GATHER = Kernel("segment", "gather", gather_twin)


@dataclass(frozen=True, eq=False)
class Edges:
    """Edges sorted by the segment that they end in.

    Make one with `Edges.between` or `Edges.into`; ``first`` and ``source`` are the compressed rows of A.

    Attributes
    ----------
    first : Tensor of int64, (num_segments + 1,)
        Edges of segment s are ``first[s]`` to ``first[s + 1] - 1``.
    source : Tensor of int64, (num_edges,)
        Row that each of them starts from.
    num_rows : int
        Rows of what is gathered.
    """

    first: Tensor
    source: Tensor
    num_rows: int

    @classmethod
    def between(cls, source: Tensor, target: Tensor, num_sources: int, num_targets: int) -> "Edges":
        """Edges from ``source[e]`` to ``target[e]`` in any order; edges into one target keep theirs, so that sums round the same way.

        Raises
        ------
        ShapeError
            For indices outside their range, or of another dtype than int64.
        """
        for name, index, size in (("source", source, num_sources), ("target", target, num_targets)):
            if index.dtype != torch.int64 or index.shape != source.shape or index.dim() != 1:
                raise ShapeError(f"{name} must be int64 of shape (num_edges,), as the other end: got {index.dtype} {tuple(index.shape)}")
            if len(index) and not 0 <= int(index.min()) <= int(index.max()) < size:
                raise ShapeError(f"{name} must lie in 0 to {size - 1}, got {int(index.min())} to {int(index.max())}")
        order = torch.argsort(target, stable=True)
        first = torch.zeros(num_targets + 1, dtype=torch.int64, device=target.device)
        torch.cumsum(torch.bincount(target, minlength=num_targets), 0, out=first[1:])
        return cls(first, source[order].contiguous(), num_sources)

    @classmethod
    def into(cls, target: Tensor, num_targets: int) -> "Edges":
        """Edge e from row e of a tensor of edge features to ``target[e]``: `gather_sum` is then the plain segment sum."""
        return cls.between(torch.arange(len(target), device=target.device), target, len(target), num_targets)

    @property
    def num_segments(self) -> int:
        return len(self.first) - 1

    @cached_property
    def transposed(self) -> "Edges":
        """The same edges the other way round."""
        segment = torch.arange(self.num_segments, device=self.first.device).repeat_interleave(self.first.diff())
        return Edges.between(segment, self.source, self.num_segments, self.num_rows)

    @cached_property
    def one_each(self) -> bool:
        """Whether every segment has exactly one edge, so that sums are copies."""
        return len(self.source) == self.num_segments and bool((self.first.diff() == 1).all())


def gather_sum(x: Tensor, edges: Edges) -> Tensor:
    """Sum the rows that the edges of each segment start from, differentiably.

        y_s = sum over edges e into s of x_source(e)

    Parameters
    ----------
    x : Tensor of float32 or float64, (num_rows, *features)
        On the device of the edges.
    edges : Edges
        A.

    Returns
    -------
    Tensor, (num_segments, *features)
        Zero where a segment has no edge.

    Raises
    ------
    ShapeError
        For another number of rows, or another dtype.

    Communication
    -------------
    Local. Deterministic on every device, the gradient included: no atomics, sums in the order of the edges.

    Examples
    --------
    >>> edges = Edges.between(torch.tensor([0, 1, 1]), torch.tensor([1, 0, 1]), 2, 2)
    >>> gather_sum(torch.tensor([[1.0], [10.0]]), edges)
    tensor([[10.],
            [11.]])
    """
    if len(x) != edges.num_rows:
        raise ShapeError(f"these edges start from {edges.num_rows} rows, got a tensor of shape {tuple(x.shape)}")
    return _GatherSum.apply(x, edges)


class _GatherSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, edges: Edges) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.edges = edges
        x, width = x.contiguous(), math.prod(x.shape[1:])
        out = x.new_empty((edges.num_segments, *x.shape[1:]))
        if edges.one_each:
            GATHER(out, x, edges.source, len(out), width, extent=(width, len(out)))
        else:
            GATHER_SUM(out, x, edges.first, edges.source, len(out), width, extent=(width, len(out)))
        return out

    @staticmethod
    def backward(ctx, cotangent: Tensor):  # type: ignore[no-untyped-def]
        return _GatherSum.apply(cotangent, ctx.edges.transposed), None
