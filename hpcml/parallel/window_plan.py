"""Who sends which cells to whom so that every rank can read its window of a global array, and back."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.core.errors import ShapeError
from hpcml.mpi.call import number_of
from hpcml.parallel.layout import Layout
from hpcml.parallel.packed_exchange import Boxes, PackedExchange, lay_out
from hpcml.parallel.recent import Recent
from hpcml.parallel.transfers import Box, Index, transfers
from hpcml.parallel.transport.connect import agree_on_nothing


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
        Number of the plan, compared with the neighbors', as are its windows and boundaries; the next one is used too.

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
    Construction: local. Calls: neighbors; one message per peer for all tensors of the call together, packed contiguous; deterministic.
    Buffers are made, and the neighbors told, at the first call with new leading shapes, and used again while these are among the last few.
    """

    def __init__(self, comm: MPI.Intracomm, source: Layout, target: Layout, boundary: Sequence[str], tag: int = 0) -> None:
        self.comm = comm
        self.tag = tag
        self.source_shape = source.local_shape(comm.rank)
        self.target_shape = target.local_shape(comm.rank)
        self._number = number_of((source, target, tuple(boundary))) % 10**6
        self.is_identity = (target.ranges, target.first_rank) == (source.ranges, source.first_rank)
        self.outside = _outside(target, comm.rank, boundary)
        self.incoming, self.outgoing = transfers(source, target, boundary, comm.rank)
        self.own = self.incoming.pop(comm.rank, [])
        self.outgoing.pop(comm.rank, None)
        self.whole = next((b for b in self.own if b.shape == self.source_shape and not b.flipped and not b.repeated), None)
        self._bound: Recent[PackedExchange] = Recent()

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
        bound.send(tensors)
        try:
            windows = [t.new_empty(t.shape[: t.dim() - len(self.source_shape)] + self.target_shape) for t in tensors]
            for tensor, window in zip(tensors, windows, strict=True):
                for index in self.outside:
                    window[index].fill_(fill)
                for box in self.own:
                    box.put(window, tensor if box is self.whole else tensor[box.source])
            if meanwhile is not None:
                meanwhile()
        except BaseException:
            bound.exchange.cancel()
            raise
        bound.land(windows)
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
        if windows[0].dtype in (torch.float16, torch.bfloat16):  # sums of 16 bits are made in float32
            return [total.to(windows[0].dtype) for total in self.adjoint([w.float() for w in windows], False, meanwhile)]
        bound = self._bind(windows, self.target_shape, adjoint=True)
        bound.send(windows)
        try:
            sums = [self._add_own(window, consume) for window in windows]
            if meanwhile is not None:
                meanwhile()
        except BaseException:
            bound.exchange.cancel()
            raise
        bound.land(sums)
        return sums

    def close(self) -> None:
        """Free all persistent requests."""
        self._bound.close()

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

    def _bind(self, tensors: Sequence[Tensor], expected: tuple[int, ...], adjoint: bool) -> PackedExchange:
        key = (adjoint, tensors[0].dtype, tensors[0].device, *[t.shape for t in tensors])
        bound = self._bound.get(key)
        if bound is None:
            made = self._made(tensors, expected, adjoint)
            return self._bound.add(key, made) if any(_leads(tensors, expected)) else made  # that there is nothing is agreed on every time
        self._bound.move_to_end(key)
        return bound

    def _made(self, tensors: Sequence[Tensor], expected: tuple[int, ...], adjoint: bool) -> PackedExchange:
        for t in tensors:
            if tuple(t.shape[t.dim() - len(expected) :]) != expected or t.dtype != tensors[0].dtype:
                raise ShapeError(
                    f"rank {self.comm.rank} of {self.comm.size} expected tensors of one dtype that end in its local shape {expected}, "
                    f"got {tuple(t.shape)} {t.dtype}: pass this rank's block, as domain.scatter gives it"
                )
        leading = [tuple(t.shape[: t.dim() - len(expected)]) for t in tensors]
        dtype, device = tensors[0].dtype, tensors[0].device
        cells = [(dtype.itemsize, math.prod(lead)) for lead in leading]
        sources, targets = _sources(self.outgoing, adjoint), _targets(self.incoming, adjoint)
        give, send = lay_out(sources, cells)
        take, recv = lay_out(targets, cells)
        what = f"{'adjoint ' * adjoint}window of {str(dtype).removeprefix('torch.')} {' '.join(map(str, leading))}, layout {self._number}"
        if not any(_leads(tensors, expected)):
            peers = {peer for side in (sources, targets) for peer, boxes in side.items() if any(cells for _, cells in boxes)}
            agree_on_nothing(self.comm, sorted(peers), f"{what}, plan {self.tag + adjoint}")
        names: dict[str, Any] = {"what": what, "shared_by_calls": True}
        if adjoint:
            return PackedExchange(self.comm, take, give, recv, send, "accumulate", device, self.tag + 1, **names)
        return PackedExchange(self.comm, give, take, send, recv, "unpack", device, self.tag, **names)


def _leads(tensors: Sequence[Tensor], expected: tuple[int, ...]) -> list[int]:
    """How many numbers each tensor holds of a cell, such as samples times channels."""
    return [math.prod(t.shape[: t.dim() - len(expected)]) for t in tensors]


def _sources(boxes: Mapping[int, Sequence[Box]], apart: bool) -> Boxes:
    """Where boxes lie in the source. A cell that a window holds several times travels once, or, ``apart``, comes from every place."""
    return {peer: [([b.source], math.prod(b.shape)) for b in of for _ in b.landings[: None if apart else 1]] for peer, of in boxes.items()}


def _targets(boxes: Mapping[int, Sequence[Box]], apart: bool) -> Boxes:
    """Where they lie in the window: what travels once lands in every place."""
    return {
        peer: [(landings, math.prod(b.shape)) for b in of for landings in ([[x] for x in b.landings] if apart else [b.landings])]
        for peer, of in boxes.items()
    }


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
