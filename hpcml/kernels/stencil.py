"""Nearest-neighbor stencils in two and three dims."""

from collections.abc import Sequence

from torch import Tensor

from hpcml.core.errors import ShapeError
from hpcml.kernels.arguments import Array
from hpcml.kernels.batched_grid import BatchedGrid
from hpcml.kernels.device import column_shape
from hpcml.kernels.kept_launch import run_kept
from hpcml.kernels.kernel import Kernel
from hpcml.kernels.launch import Launch
from hpcml.kernels.stencil_twin import five_point_twin, seven_point_twin

STAR = {
    2: Kernel("stencil", "five_point", five_point_twin, strided=("out", "u")),
    3: Kernel("stencil", "seven_point", seven_point_twin, strided=("out", "u")),
}


def star_stencil(out: Array, u: Array, centre: float, near: Sequence[float]) -> None:
    """Weighted sum of every cell and its nearest neighbors.

        out_i = centre u_i + sum_d near_d (u_(i - e_d) + u_(i + e_d))

    Parameters
    ----------
    out : array of float32 or float64, (..., *cells)
        Written; rows contiguous, anything else strided.
    u : array of the same dtype, (..., *cells + 2)
        With one ghost cell on every side; must not overlap ``out``.
    centre : float
        Weight of the cell itself.
    near : sequence of float
        Weight of the two neighbors across each spatial dim: two or three of them.

    Raises
    ------
    ShapeError
        For shapes that do not fit, and for a number of dims other than two and three.

    Communication
    -------------
    Local: the ghost cells are exchanged before. Deterministic; the same bits on the CPU, on a GPU and by the twin.

    Notes
    -----
    `bind_star_stencil` checks the arguments once, for loops over the same arrays; torch tensors are checked once for every layout.

    Examples
    --------
    >>> import numpy as np
    >>> u = np.arange(5.0)[:, None] ** 2 + np.zeros((5, 5))
    >>> laplacian = np.empty((3, 3))
    >>> star_stencil(laplacian, u, -4.0, (1.0, 1.0))
    >>> laplacian[0]
    array([2., 2., 2.])
    """
    if isinstance(out, Tensor) and isinstance(u, Tensor):
        return run_kept(("star_stencil", centre, *near), (out, u), lambda: bind_star_stencil(out, u, centre, near))
    return bind_star_stencil(out, u, centre, near)()


def bind_star_stencil(out: Array, u: Array, centre: float, near: Sequence[float]) -> Launch:
    """Launch of `star_stencil` on arrays that stay."""
    to, around = _grids(out, u, len(near))
    shape = column_shape(to.extent) if len(near) == 3 else None
    return STAR[len(near)].bind(out, u, to.batch, *to.shape, *to.steps, *around.steps, centre, *near, extent=to.extent, shape=shape)


def _grids(out: Array, u: Array, dims: int) -> tuple[BatchedGrid, BatchedGrid]:
    if dims not in STAR:
        raise ShapeError(f"stencils are for two and three dims, got weights for {dims}")
    to, around = BatchedGrid.of(out, dims, "out"), BatchedGrid.of(u, dims, "u")
    around.require_around(to, "u")
    return to, around
