"""A uniform grid of cells over a box."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hpcml.core.errors import ShapeError


@dataclass(frozen=True, slots=True, init=False)
class Grid:
    """n_d cells of width dx_d = extent_d / n_d along each dim, values at the centres x_i = (i + 1/2) dx.

    Parameters
    ----------
    shape : int or sequence of int
        Global cells of 1 to 3 dims, at least 1 each.
    extent : float or sequence of float
        Length of the box along each dim, in the user's unit; one number means every dim.
    periodic : bool or sequence of bool
        Whether the last cell of a dim is the neighbor of the first; one value means every dim.

    Raises
    ------
    ShapeError
        For other numbers of dims, or sizes that are not positive.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> Grid(shape=(4, 8), extent=(1.0, 2.0)).spacing
    (0.25, 0.25)
    """

    shape: tuple[int, ...]
    extent: tuple[float, ...]
    periodic: tuple[bool, ...]

    def __init__(self, shape: int | Sequence[int], extent: float | Sequence[float] = 1.0, periodic: bool | Sequence[bool] = True) -> None:
        shape = (shape,) if isinstance(shape, int) else tuple(int(n) for n in shape)
        extent = (float(extent),) * len(shape) if isinstance(extent, (int, float)) else tuple(float(e) for e in extent)
        periodic = (periodic,) * len(shape) if isinstance(periodic, bool) else tuple(periodic)
        if not 1 <= len(shape) <= 3 or not len(shape) == len(extent) == len(periodic):
            raise ShapeError(
                f"a grid has 1 to 3 dims with an extent and a periodic flag each, got shape {shape}, extent {extent}, periodic {periodic}"
            )
        if min(shape) < 1 or not all(e > 0 and math.isfinite(e) for e in extent):
            raise ShapeError(f"a grid needs at least 1 cell and a positive extent along every dim, got shape {shape}, extent {extent}")
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "extent", extent)
        object.__setattr__(self, "periodic", periodic)

    @property
    def num_dims(self) -> int:
        """Number of dims, D."""
        return len(self.shape)

    @property
    def num_cells(self) -> int:
        """Number of cells of the whole grid."""
        return math.prod(self.shape)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Dx of every dim."""
        return tuple(e / n for e, n in zip(self.extent, self.shape, strict=True))

    def with_shape(self, shape: Sequence[int]) -> "Grid":
        """The same box with another number of cells."""
        return Grid(tuple(shape), self.extent, self.periodic)

    def centres(self, dim: int, start: int = 0, stop: int | None = None, device: torch.device | None = None) -> Tensor:
        """Coordinates of cells ``start`` to ``stop - 1`` along a dim, float64, shape (stop - start,)."""
        stop = self.shape[dim] if stop is None else stop
        return (torch.arange(start, stop, dtype=torch.float64, device=device) + 0.5) * self.spacing[dim]
