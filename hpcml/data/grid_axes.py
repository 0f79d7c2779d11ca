"""The grid of a domain in the words of datasets."""

from hpcml.fields.grid import Grid
from hpcml.io.dataset.axis import Axis
from hpcml.io.dataset.description import DIMS


def grid_axes(grid: Grid) -> tuple[Axis, ...]:
    """Axes of the box that a grid covers, beginning at 0.

    Communication
    -------------
    Local.
    """
    parts = zip(DIMS, grid.shape, grid.extent, grid.spacing, grid.periodic, strict=False)
    return tuple(Axis(name, n, dx / 2, length - dx / 2, "periodic" if closed else "wall") for name, n, length, dx, closed in parts)
