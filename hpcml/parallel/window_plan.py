"""Who sends which cells to whom so that every rank can read its window of a global array, and back."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.core.errors import ShapeError
from hpcml.parallel.exchange import Exchange
from hpcml.parallel.layout import Layout
from hpcml.parallel.segments import Segment, segments

Index = tuple[Any, ...]
"""Ellipsis and slices of the last dims."""


@dataclass(frozen=True, slots=True)
class Box:
    """Cells that go from one place to another: an index for a (..., *local) tensor on either side, and what happens on the way."""

    source: Index
    target: Index
    shape: tuple[int, ...]
    flipped: tuple[int, ...]
    repeated: tuple[int, ...]

    @classmethod
    def of(cls, pieces: Sequence[Segment]) -> "Box":
        """Product of one segment per dim; dims are counted from the last."""
        num_dims = len(pieces)
        return cls(
            source=(..., *(slice(s.source, s.source + s.source_size) for s in pieces)),
            target=(..., *(slice(s.target, s.target + s.size) for s in pieces)),
            shape=tuple(s.source_size for s in pieces),
            flipped=tuple(d - num_dims for d, s in enumerate(pieces) if s.step < 0),
            repeated=tuple(d - num_dims for d, s in enumerate(pieces) if s.step == 0),
        )

    def put(self, target: Tensor, cells: Tensor) -> None:
        """Write supplied cells into a window."""
        target[self.target].copy_(cells.flip(self.flipped) if self.flipped else cells)

    def take_back(self, target: Tensor) -> Tensor:
        """Adjoint of `put`: a window's cells, added up where one was supplied to several."""
        cells = target[self.target]
        if self.repeated:
            cells = cells.sum(self.repeated, keepdim=True)
        return cells.flip(self.flipped) if self.flipped else cells


class WindowPlan:
    """Who sends which cells to whom, worked out once and without communication.

    Parameters
    ----------
    comm : MPI.Intracomm
        Holds the ranks of both layouts.
    source : Layout
        Disjoint boxes that cover the array.
    target : Layout
        The window of every rank, in the same global index space.
    boundary : sequence of str
        Rule for each dim, see `hpcml.parallel.segments.BOUNDARIES`.
    tag : int
        Message tag; plans that are in flight together need different ones.

    Attributes
    ----------
    source_shape, target_shape : tuple of int
        This rank's box in either layout.
    is_identity : bool
        Whether every rank's window is what it holds, so that there is nothing to do.

    Raises
    ------
    ShapeError
        When called with tensors that do not end in ``source_shape`` (``target_shape`` for the adjoint).

    Communication
    -------------
    Construction: local. Calls: neighbours; one message per peer for all tensors of the call together, packed contiguous; deterministic.
    Buffers and persistent requests are made at the first call with new leading shapes and reused afterwards.
    """

    def __init__(self, comm: MPI.Intracomm, source: Layout, target: Layout, boundary: Sequence[str], tag: int = 0) -> None:
        self.comm = comm
        self.tag = tag
        self.source_shape = source.local_shape(comm.rank)
        self.target_shape = target.local_shape(comm.rank)
        self.is_identity = (target.ranges, target.first_rank) == (source.ranges, source.first_rank)
        self.outside = _outside(target, comm.rank, boundary)
        pieces = _pieces(source, target, boundary)
        self.incoming = _boxes(_incoming(source, target, comm.rank, pieces))
        self.outgoing = _boxes(_outgoing(source, target, comm.rank, pieces))
        self.own = self.incoming.pop(comm.rank, [])
        self.outgoing.pop(comm.rank, None)
        self.whole = next((b for b in self.own if b.shape == self.source_shape and not b.flipped and not b.repeated), None)
        self._bound: dict[tuple[object, ...], _Bound] = {}

    def forward(self, tensors: Sequence[Tensor], fill: float = 0.0, meanwhile: Callable[[], None] | None = None) -> list[Tensor]:
        """Read this rank's window of every tensor.

        Parameters
        ----------
        tensors : sequence of Tensor
            Each (..., *source_shape); one dtype, any leading shapes, the same on all ranks.
        fill : float
            Value outside the array for ``constant`` and ``zero``.
        meanwhile : callable, optional
            Work done while the messages travel.

        Returns
        -------
        list of Tensor
            Each (..., *target_shape), newly allocated.
        """
        bound = self._bind(tensors, self.source_shape, adjoint=False)
        exchange = bound.exchange
        for k, box, buffer in bound.pack:
            buffer.copy_(tensors[k][box.source])
        exchange.start()
        try:
            windows = [t.new_empty(shape) for t, shape in zip(tensors, bound.shapes, strict=True)]
            for tensor, window in zip(tensors, windows, strict=True):
                for index in self.outside:
                    window[index].fill_(fill)
                for box in self.own:
                    box.put(window, tensor if box is self.whole else tensor[box.source])
            if meanwhile is not None:
                meanwhile()
        except BaseException:
            exchange.cancel()
            raise
        exchange.wait()
        for k, box, buffer in bound.unpack:
            box.put(windows[k], buffer)
        return windows

    def adjoint(self, windows: Sequence[Tensor], consume: bool = False, meanwhile: Callable[[], None] | None = None) -> list[Tensor]:
        """Add every cell of this rank's and the other ranks' windows to the cell that it was read from.

        Parameters
        ----------
        windows : sequence of Tensor
            Each (..., *target_shape).
        consume : bool
            The caller gives the windows away: the result may be a view of them, so that only edges are touched.
        meanwhile : callable, optional
            Work done while the messages travel.

        Returns
        -------
        list of Tensor
            Each (..., *source_shape).
        """
        bound = self._bind(windows, self.target_shape, adjoint=True)
        exchange = bound.exchange
        for k, box, buffer in bound.pack:
            buffer.copy_(box.take_back(windows[k]))
        exchange.start()
        try:
            sums = [self._add_own(window, consume) for window in windows]
            if meanwhile is not None:
                meanwhile()
        except BaseException:
            exchange.cancel()
            raise
        exchange.wait()
        for k, box, buffer in bound.unpack:
            sums[k][box.source].add_(buffer)
        return sums

    def close(self) -> None:
        """Free all persistent requests."""
        for bound in self._bound.values():
            bound.exchange.close()
        self._bound.clear()

    def _add_own(self, window: Tensor, consume: bool) -> Tensor:
        if self.whole is None:
            total = window.new_zeros(window.shape[: window.dim() - len(self.source_shape)] + self.source_shape)
        else:
            total = window[self.whole.target]
            total = total if consume else total.clone(memory_format=torch.contiguous_format)
        for box in self.own:
            if box is not self.whole:
                total[box.source].add_(box.take_back(window))
        return total

    def _bind(self, tensors: Sequence[Tensor], expected: tuple[int, ...], adjoint: bool) -> "_Bound":
        key = (adjoint, tensors[0].dtype, tensors[0].device, *(t.shape for t in tensors))
        bound = self._bound.get(key)
        if bound is None:
            for t in tensors:
                if tuple(t.shape[t.dim() - len(expected) :]) != expected or t.dtype != tensors[0].dtype:
                    raise ShapeError(
                        f"rank {self.comm.rank} of {self.comm.size} expected tensors of one dtype that end in its local shape {expected}, "
                        f"got {tuple(t.shape)} {t.dtype}: pass this rank's block, as domain.scatter gives it"
                    )
            bound = self._bound[key] = _Bound(self, tensors, len(expected), adjoint)
        return bound


class _Bound:
    """Buffers, requests and buffer views of a plan for given leading shapes."""

    def __init__(self, plan: WindowPlan, tensors: Sequence[Tensor], num_dims: int, adjoint: bool) -> None:
        leading = [tuple(t.shape[: t.dim() - num_dims]) for t in tensors]
        self.shapes = [lead + plan.target_shape for lead in leading]
        towards, back = (plan.incoming, plan.outgoing) if adjoint else (plan.outgoing, plan.incoming)
        send, recv = _count(towards, leading), _count(back, leading)
        self.exchange = Exchange(plan.comm, send, recv, tensors[0].dtype, tensors[0].device, plan.tag + adjoint)
        self.pack = list(_views(towards, leading, self.exchange.send))
        self.unpack = list(_views(back, leading, self.exchange.recv))


def _count(boxes: dict[int, list[Box]], leading: Sequence[tuple[int, ...]]) -> dict[int, int]:
    lead = sum(torch.Size(shape).numel() for shape in leading)
    return {peer: lead * sum(torch.Size(b.shape).numel() for b in peer_boxes) for peer, peer_boxes in boxes.items()}


def _views(
    boxes: dict[int, list[Box]], leading: Sequence[tuple[int, ...]], buffers: dict[int, Tensor]
) -> Iterator[tuple[int, Box, Tensor]]:
    """Cut each peer's buffer into its boxes, tensor by tensor: the order that both sides agree on."""
    for peer, buffer in buffers.items():
        offset = 0
        for k, lead in enumerate(leading):
            for box in boxes[peer]:
                size = torch.Size(lead + box.shape).numel()
                yield k, box, buffer[offset : offset + size].view(lead + box.shape)
                offset += size


def _outside(target: Layout, rank: int, boundary: Sequence[str]) -> list[Index]:
    """Slabs of this rank's window that read the fill value."""
    slabs: list[Index] = []
    for d, ((start, stop), n) in enumerate(zip(target.box(rank), target.shape, strict=True)):
        if boundary[d] not in ("zero", "constant"):
            continue
        after = (slice(None),) * (len(target.shape) - d - 1)
        if start < min(stop, 0):
            slabs.append((..., slice(0, min(stop, 0) - start), *after))
        if stop > max(start, n):
            slabs.append((..., slice(max(start, n) - start, stop - start), *after))
    return slabs


Pieces = list[list[list[Segment]]]


def _pieces(source: Layout, target: Layout, boundary: Sequence[str]) -> Pieces:
    """Segments of every dim and every coordinate of the target's grid."""
    return [
        [segments(window, n, rule, owned) for window in windows]
        for windows, n, rule, owned in zip(target.ranges, source.shape, boundary, source.ranges, strict=True)
    ]


Transfers = dict[int, list[tuple[Segment, ...]]]


def _incoming(source: Layout, target: Layout, rank: int, pieces: Pieces) -> Transfers:
    coords = target.coords_of(rank)
    transfers: Transfers = {}
    if coords is not None:
        for product in itertools.product(*(dim[coord] for dim, coord in zip(pieces, coords, strict=True))):
            transfers.setdefault(source.rank_of([s.coord for s in product]), []).append(product)
    return transfers


def _outgoing(source: Layout, target: Layout, rank: int, pieces: Pieces) -> Transfers:
    coords = source.coords_of(rank)
    transfers: Transfers = {}
    if coords is not None:
        mine = [
            [(c, s) for c, dim_pieces in enumerate(dim) for s in dim_pieces if s.coord == coord]
            for dim, coord in zip(pieces, coords, strict=True)
        ]
        for product in itertools.product(*mine):
            peer = target.rank_of([c for c, _ in product])
            transfers.setdefault(peer, []).append(tuple(s for _, s in product))
    return transfers


def _boxes(transfers: Transfers) -> dict[int, list[Box]]:
    return {
        peer: [Box.of(product) for product in sorted(products, key=lambda p: [s.target for s in p])]
        for peer, products in sorted(transfers.items())
    }
