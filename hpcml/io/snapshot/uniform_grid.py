"""A block of a uniform grid, for the files that show it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpcml.io.snapshot.location import Location
from hpcml.topology.block import BlockRange, block_range

_NAMES = "xyz"


@dataclass(frozen=True, slots=True)
class UniformGrid:
    """One rank's block of cells of a box; values sit at cell centres. A `Geometry`.

    In memory a field is (x, y, z), in the files (z, y, x), the order of netCDF's conventions and of VTK, in which x varies fastest.
    ParaView is shown points at the centres and not cells: its reader takes a layer of cells for none.

    Attributes
    ----------
    cells : tuple of int
        Cells of the whole grid along x, y and z; one to three.
    extent : tuple of float
        Length of the box along each.
    block : tuple of BlockRange
        Cells that this rank holds.

    Examples
    --------
    >>> grid = UniformGrid.dealt((4, 6), (1.0, 3.0))
    >>> grid.locations["cells"].dims, grid.locations["cells"].shape, grid.coordinates()["y"]
    (('y', 'x'), (6, 4), array([0.25, 0.75, 1.25, 1.75, 2.25, 2.75]))
    """

    cells: tuple[int, ...]
    extent: tuple[float, ...]
    block: tuple[BlockRange, ...]

    @classmethod
    def dealt(
        cls, cells: Sequence[int], extent: Sequence[float], ranks: Sequence[int] | None = None, coords: Sequence[int] | None = None
    ) -> "UniformGrid":
        """The block at ``coords`` of a process grid ``ranks``; the whole grid without them."""
        ranks, coords = ranks or (1,) * len(cells), coords or (0,) * len(cells)
        block = tuple(block_range(n, p, c) for n, p, c in zip(cells, ranks, coords, strict=True))
        return cls(tuple(cells), tuple(extent), block)

    @property
    def locations(self) -> dict[str, Location]:
        offset, local_shape = zip(*((part.start, part.size) for part in reversed(self.block)), strict=True)
        return {"cells": Location(tuple(reversed(_NAMES[: len(self.cells)])), self.cells[::-1], offset, local_shape)}

    def coordinates(self) -> dict[str, np.ndarray]:
        sizes = zip(_NAMES, self.cells, self.extent, strict=False)
        return {name: (np.arange(n) + 0.5) * (length / n) for name, n, length in sizes}

    def arrays(self) -> dict[str, tuple[Location, np.ndarray]]:
        return {}

    def stored(self, block: np.ndarray) -> np.ndarray:
        first = block.ndim - len(self.cells)
        return block.transpose(*range(first), *reversed(range(first, block.ndim)))

    def xdmf(self, view: str, moved: Sequence[str] = ()) -> str:
        widths = [length / n for length, n in zip(self.extent, self.cells, strict=True)]
        points, spacing, origin = (
            " ".join(map(str, [*(fill,) * (3 - len(self.cells)), *values]))
            for fill, values in ((1, self.cells[::-1]), (1, widths[::-1]), (0, [dx / 2 for dx in reversed(widths)]))
        )
        return (
            f'<Topology TopologyType="3DCoRectMesh" Dimensions="{points}"/>'
            f'<Geometry GeometryType="ORIGIN_DXDYDZ"><DataItem Dimensions="3" Format="XML">{origin}</DataItem>'
            f'<DataItem Dimensions="3" Format="XML">{spacing}</DataItem></Geometry>'
        )
