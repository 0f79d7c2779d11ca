"""What a case says of the grid of a dataset, beside what the file says."""

from dataclasses import replace

from hpcml.core import case
from hpcml.core.errors import ConfigError
from hpcml.io.dataset import Description
from hpcml.io.dataset.axis import SAME, Axis


def with_grid(space: Description, grid: case.Grid, path: str, any_cells: bool = False) -> Description:
    """The description with what the file does not say taken from the table ``[grid]``.

    Parameters
    ----------
    space : Description
        Of the file.
    grid : hpcml.core.case.Grid
        The table.
    path : str
        The file, for messages.
    any_cells : bool
        Whether the file may be on more or fewer cells of the same box.

    Raises
    ------
    ConfigError
        Where both say something and contradict each other.

    Communication
    -------------
    Local.
    """
    dims = len(grid.shape)
    if dims != space.num_dims or (not any_cells and grid.shape != space.grid_shape):
        raise ConfigError(
            f"{path} is on a grid of {space.grid_shape} cells, which does not go with grid.shape = {list(grid.shape)}: say the cells "
            "of the data there, or leave the table [grid] out"
        )
    extents = grid.extent if isinstance(grid.extent, tuple) else (grid.extent,) * dims
    closed = grid.periodic if isinstance(grid.periodic, tuple) else (grid.periodic,) * dims
    if len(extents) != dims or len(closed) != dims:
        raise ConfigError(f"grid.shape = {list(grid.shape)} has {dims} dims, grid.extent and grid.periodic must have as many")
    for axis, said, extent, periodic in zip(space.axes, space.periodic, extents, closed, strict=True):
        if axis.located and not _is_long(axis, extent):
            raise ConfigError(
                f"{path} covers {axis.extent:.6g} along {axis.name}, the case says grid.extent = {extent:.6g}: say there what the "
                "file says, or leave the table [grid] out"
            )
        if said is not None and said != periodic:
            raise ConfigError(
                f"{path} is {'' if said else 'not '}periodic along {axis.name}, the case says grid.periodic = {periodic}: say there what "
                "the file says, or leave the table [grid] out"
            )
    if space.located:
        return replace(space, periodic=closed)
    centres = tuple(tuple((i + 0.5) * extent / n for i in range(n)) for n, extent in zip(space.grid_shape, extents, strict=True))
    return replace(space, periodic=closed, coordinates=centres, located=True)


def _is_long(axis: Axis, extent: float) -> bool:
    """Whether an axis covers a length, be its coordinates centres, left edges, or both ends of the box."""
    return axis.cells == 1 or any(abs(extent - n * axis.spacing) <= SAME * axis.spacing * n for n in (axis.cells, axis.cells - 1))
