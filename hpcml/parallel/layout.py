"""Which rank holds which box of a global array."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hpcml.core.errors import TopologyError
from hpcml.topology.block import block_range

Range = tuple[int, int]
"""Half-open range of global indices."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A box of the global index space for every rank, as a product of one list of ranges per dim.

    Boxes may overlap (ghosts) and reach outside ``0 <= index < shape`` (boundary). Blocks, pencils, one root that holds everything and
    a halo are all layouts; `WindowPlan` moves data from one to another.

    Parameters
    ----------
    shape : tuple of int
        Global cells of the D dims.
    ranges : tuple of tuple of (int, int)
        For each dim, the range of each coordinate of the process grid.
    first_rank : int
        Rank of coordinate (0, ..., 0); the others follow in C order. Ranks outside hold nothing.

    Communication
    -------------
    Local; every rank knows every other rank's box.
    """

    shape: tuple[int, ...]
    ranges: tuple[tuple[Range, ...], ...]
    first_rank: int = 0

    @classmethod
    def blocks(cls, shape: Sequence[int], dims: Sequence[int]) -> "Layout":
        """Disjoint blocks of every dim, by the one ownership rule.

        Raises
        ------
        TopologyError
            If a rank would own no cell.
        """
        for d, (n, p) in enumerate(zip(shape, dims, strict=True)):
            if n < p:
                raise TopologyError(f"dim {d} has {n} cells for {p} ranks, so some would own none: use fewer ranks there or a finer field")
        ranges = tuple(tuple((r.start, r.stop) for r in (block_range(n, p, b) for b in range(p))) for n, p in zip(shape, dims, strict=True))
        return cls(tuple(shape), ranges)

    @classmethod
    def whole(cls, shape: Sequence[int], root: int) -> "Layout":
        """Everything on one rank."""
        return cls(tuple(shape), tuple(((0, n),) for n in shape), root)

    @property
    def dims(self) -> tuple[int, ...]:
        """Ranks along each dim."""
        return tuple(len(r) for r in self.ranges)

    def rank_of(self, coords: Sequence[int]) -> int:
        """Rank at a place of the grid."""
        rank = 0
        for coord, num_ranks in zip(coords, self.dims, strict=True):
            rank = rank * num_ranks + coord
        return rank + self.first_rank

    def coords_of(self, rank: int) -> tuple[int, ...] | None:
        """Place of a rank in the grid, or None if it holds nothing."""
        rest = rank - self.first_rank
        if not 0 <= rest < math.prod(self.dims):
            return None
        coords = []
        for num_ranks in reversed(self.dims):
            rest, coord = divmod(rest, num_ranks)
            coords.append(coord)
        return tuple(reversed(coords))

    def box(self, rank: int) -> tuple[Range, ...]:
        """Ranges that a rank holds; empty ones for a rank outside."""
        coords = self.coords_of(rank)
        if coords is None:
            return ((0, 0),) * len(self.shape)
        return tuple(ranges[coord] for ranges, coord in zip(self.ranges, coords, strict=True))

    def local_shape(self, rank: int) -> tuple[int, ...]:
        """Cells of each dim that a rank holds."""
        return tuple(stop - start for start, stop in self.box(rank))

    def widened(self, widths: Sequence[tuple[int, int]]) -> "Layout":
        """The same boxes with (lower, upper) ghost cells added to every dim."""
        ranges = tuple(
            tuple((start - lower, stop + upper) for start, stop in dim) for dim, (lower, upper) in zip(self.ranges, widths, strict=True)
        )
        return Layout(self.shape, ranges, self.first_rank)
