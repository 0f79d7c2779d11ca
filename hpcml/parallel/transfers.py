"""Which boxes of cells go from which rank to which, so that every rank can read its window of a global array."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from hpcml.parallel.layout import Layout
from hpcml.parallel.segments import Segment, segments

Index = tuple[Any, ...]
"""Ellipsis and slices of the last dims."""


@dataclass(frozen=True)
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

    @cached_property
    def landings(self) -> tuple[Index, ...]:
        """Places in the window of as many copies of the cells as it holds, each in the order of the cells: reversed ones count down."""
        dims: list[list[slice]] = []
        for d, place in enumerate(self.target[1:], -len(self.shape)):
            start, stop = place.start, place.stop
            if d in self.repeated:
                dims.append([slice(i, i + 1) for i in range(start, stop)])
            else:
                dims.append([slice(stop - 1, start - 1 if start else None, -1) if d in self.flipped else place])
        return tuple((..., *product) for product in itertools.product(*dims))

    def take_back(self, target: Tensor) -> Tensor:
        """Adjoint of `put`: a window's cells, added up where one was supplied to several."""
        cells = target[self.target]
        if self.repeated:
            cells = cells.sum(self.repeated, keepdim=True)
        return cells.flip(self.flipped) if self.flipped else cells


Pieces = list[list[list[Segment]]]
Transfers = dict[int, list[tuple[Segment, ...]]]


def transfers(source: Layout, target: Layout, boundary: Sequence[str], rank: int) -> tuple[dict[int, list[Box]], dict[int, list[Box]]]:
    """Boxes that a rank gets from each rank, and those that it gives to each, itself included.

    Parameters
    ----------
    source : Layout
        Disjoint boxes that cover the array.
    target : Layout
        The window of every rank, in the same global index space.
    boundary : sequence of str
        Rule for each dim, see `hpcml.parallel.segments.BOUNDARIES`.
    rank : int
        Whose boxes.

    Returns
    -------
    incoming, outgoing : dict of int to list of Box
        By peer, in the same order of boxes on both sides.

    Communication
    -------------
    Local.
    """
    pieces = [
        [segments(window, n, rule, owned) for window in windows]
        for windows, n, rule, owned in zip(target.ranges, source.shape, boundary, source.ranges, strict=True)
    ]
    return _boxes(_incoming(source, target, rank, pieces)), _boxes(_outgoing(source, target, rank, pieces))


def _incoming(source: Layout, target: Layout, rank: int, pieces: Pieces) -> Transfers:
    coords = target.coords_of(rank)
    found: Transfers = {}
    if coords is not None:
        for product in itertools.product(*(dim[coord] for dim, coord in zip(pieces, coords, strict=True))):
            found.setdefault(source.rank_of([s.coord for s in product]), []).append(product)
    return found


def _outgoing(source: Layout, target: Layout, rank: int, pieces: Pieces) -> Transfers:
    coords = source.coords_of(rank)
    found: Transfers = {}
    if coords is not None:
        mine = [
            [(c, s) for c, dim_pieces in enumerate(dim) for s in dim_pieces if s.coord == coord]
            for dim, coord in zip(pieces, coords, strict=True)
        ]
        for product in itertools.product(*mine):
            peer = target.rank_of([c for c, _ in product])
            found.setdefault(peer, []).append(tuple(s for _, s in product))
    return found


def _boxes(found: Transfers) -> dict[int, list[Box]]:
    return {
        peer: [Box.of(product) for product in sorted(products, key=lambda p: [s.target for s in p])]
        for peer, products in sorted(found.items())
    }
