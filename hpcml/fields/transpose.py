"""A field changes from one process grid to another while it is being computed, chunk by chunk."""

from collections.abc import Mapping, Sequence

import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.parallel.exchange import Exchange
from hpcml.parallel.layout import Layout, Range
from hpcml.parallel.recent import Recent

Box = tuple[Range, ...]


class Transpose:
    """Moves every cell from the rank that holds it in one layout to the rank that holds it in another.

    It is a `WindowPlan` for boxes that are disjoint on both sides, with the difference that cells are handed over in chunks while these are
    still in the cache, and that the moved field lies in memory which is reused.

    Parameters
    ----------
    comm : MPI.Intracomm
        Holds the ranks of both layouts.
    source, target : Layout
        Disjoint boxes that cover the same array; boxes may be empty.
    tag : int
        Of its messages.

    Communication
    -------------
    Construction: local. `Passage.arrive`: every pair of ranks whose boxes share cells, one contiguous message each, through shared memory
    or persistent requests; deterministic. A rank sends its block without the cells that it keeps.
    """

    def __init__(self, comm: MPI.Intracomm, source: Layout, target: Layout, tag: int) -> None:
        self.comm, self.tag = comm, tag
        self.target_shape = target.local_shape(comm.rank)
        held, wanted = source.box(comm.rank), target.box(comm.rank)
        self.outgoing = {peer: box for peer in range(comm.size) if (box := _shared(held, target.box(peer)))}
        self.incoming = {peer: box for peer in range(comm.size) if (box := _shared(wanted, source.box(peer)))}
        self._passages: Recent[Passage] = Recent()

    def passage(self, rows: int, dtype: torch.dtype, device: torch.device) -> "Passage":
        """Buffers for ``rows`` fields; made at the first call."""
        key = rows, dtype
        passage = self._passages.get(key)
        if passage is None:
            return self._passages.add(key, Passage(self, rows, dtype, device))
        self._passages.move_to_end(key)
        return passage

    def close(self) -> None:
        """Free all persistent requests."""
        self._passages.close()


class Passage:
    """Buffers and requests of a `Transpose` for a given number of fields."""

    def __init__(self, plan: Transpose, rows: int, dtype: torch.dtype, device: torch.device) -> None:
        rank = plan.comm.rank
        send, receive = ({p: rows * _count(box) for p, box in boxes.items() if p != rank} for boxes in (plan.outgoing, plan.incoming))
        tensors = None if device.type == "cpu" else "mpi"  # some back ends of a GPU have no tensors for buffers
        what = f"transpose of {rows} fields of {str(dtype).removeprefix('torch.')}"
        self.exchange = Exchange(plan.comm, send, receive, dtype, device, plan.tag, tensors, what=what, shared_by_calls=True)
        self.moved = torch.empty((rows, *plan.target_shape), dtype=dtype, device=device)
        self.places, self.arrivals, self.unpacked = [], [], []  # for both halves of memory that is shared, in turn
        for buffers in self.exchange.halves:
            self.places.append(self._parts(buffers.send, plan.outgoing, plan.incoming.get(rank), rank))
            self.arrivals.append(self._parts(buffers.recv, plan.incoming, plan.incoming.get(rank), rank))
            peers = {peer: box for peer, box in plan.incoming.items() if peer != rank}
            self.unpacked.append([(self.moved[_index(box)], _as_box(buffers.recv[p], rows, box)) for p, box in peers.items()])

    def close(self) -> None:
        """Free the requests."""
        self.exchange.close()

    def put(self, cells: Tensor, first_row: int, dim: int, start: int) -> None:
        """Hand over cells (rows, *local) of this rank's source box: all but a run of rows, and of one dim, from where they start."""
        rows = slice(first_row, first_row + len(cells))
        for box, place in self.places[self.exchange.half]:
            low, high = box[dim]
            low_here, high_here = max(low, start), min(high, start + cells.shape[1 + dim])
            if low_here < high_here:
                run = (*box[:dim], (low_here - start, high_here - start), *box[dim + 1 :])
                place[rows].narrow(1 + dim, low_here - low, high_here - low_here).copy_(cells[_index(run)])

    @property
    def leaving(self) -> list[Tensor]:
        """Where to write this rank's source box (rows, *local), part by part in the order of its cells, instead of `put`."""
        return [place for _, place in self.places[self.exchange.half]]

    def arrive(self) -> list[Tensor]:
        """Exchange; give this rank's target box in parts, in the order of its cells, which are valid until the next use of the plan."""
        half = self.exchange.half
        self.exchange.start()
        self.exchange.wait()
        return [part for _, part in self.arrivals[half]]

    def finish(self) -> Tensor:
        """As `arrive`, in one piece: (rows, *local)."""
        unpacked = self.unpacked[self.exchange.half]
        self.arrive()
        for place, buffer in unpacked:
            place.copy_(buffer)
        return self.moved

    def _parts(self, buffers: Mapping[int, Tensor], boxes: Mapping[int, Box], kept: Box | None, rank: int) -> list[tuple[Box, Tensor]]:
        """Boxes in order, each with its message; what a rank keeps lies in the moved field."""
        rows = len(self.moved)
        at = {peer: _as_box(buffers[peer], rows, box) for peer, box in boxes.items() if peer != rank}
        if kept is not None:
            at[rank] = self.moved[_index(kept)]
        return sorted(((boxes[peer], part) for peer, part in at.items()), key=lambda part: part[0])


def _shared(mine: Sequence[Range], other: Sequence[Range]) -> Box | None:
    """Cells of my box that lie in the other, counted from the start of mine."""
    ranges = [(max(a, c), min(b, d)) for (a, b), (c, d) in zip(mine, other, strict=True)]
    if any(low >= high for low, high in ranges):
        return None
    return tuple((low - start, high - start) for (low, high), (start, _) in zip(ranges, mine, strict=True))


def _count(box: Sequence[Range]) -> int:
    return torch.Size(high - low for low, high in box).numel()


def _as_box(buffer: Tensor, rows: int, box: Sequence[Range]) -> Tensor:
    return buffer.view(rows, *(high - low for low, high in box))


def _index(box: Sequence[Range]) -> tuple[slice, ...]:
    return slice(None), *(slice(low, high) for low, high in box)
