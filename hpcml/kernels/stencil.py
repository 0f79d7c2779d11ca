"""Nearest-neighbor stencils in two and three dims, with constant and with variable coefficients."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from hpcml.core.errors import ShapeError
from hpcml.kernels.arguments import Array
from hpcml.kernels.batched_grid import BatchedGrid
from hpcml.kernels.device import column_shape
from hpcml.kernels.kept_launch import run_kept
from hpcml.kernels.kernel import Kernel
from hpcml.kernels.launch import Launch
from hpcml.kernels.stencil_twin import diffusion_2d_twin, diffusion_3d_twin, five_point_twin, seven_point_twin

STAR = {
    2: Kernel("stencil", "five_point", five_point_twin, strided=("out", "u")),
    3: Kernel("stencil", "seven_point", seven_point_twin, strided=("out", "u")),
}
DIFFUSION = {
    2: Kernel("stencil", "diffusion_2d", diffusion_2d_twin, strided=("out", "u", "a")),
    3: Kernel("stencil", "diffusion_3d", diffusion_3d_twin, strided=("out", "u", "a")),
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
    return STAR[len(near)].bind(out, u, to.batch, *to.shape, *to.steps, *around.steps, centre, *near, **_launched(to, len(near)))


def diffusion(out: Array, u: Array, a: Array, scale: Sequence[float]) -> None:
    """Divergence of a flux with a coefficient that varies from cell to cell, averaged on the faces.

        out_i = sum_d scale_d [a_(i + e_d / 2) (u_(i + e_d) - u_i) - a_(i - e_d / 2) (u_i - u_(i - e_d))]

    Parameters
    ----------
    out : array of float32 or float64, (..., *cells)
        Written.
    u : array of the same dtype, (..., *cells + 2)
        With one ghost cell on every side.
    a : array of the same dtype, (*cells + 2) or of the shape of ``u``
        Coefficient of every cell, ghost cells included; laid out as ``u``. Without leading dims it serves all entries of the batch.
    scale : sequence of float
        1 / dx^2 for each spatial dim.

    Raises
    ------
    ShapeError
        For shapes or strides that do not fit.

    Communication
    -------------
    Local. Deterministic; the same bits on the CPU, on a GPU and by the twin.
    """
    bind_diffusion(out, u, a, scale)()


def bind_diffusion(out: Array, u: Array, a: Array, scale: Sequence[float]) -> Launch:
    """Launch of `diffusion` on arrays that stay."""
    dims = len(scale)
    to, around = _grids(out, u, dims)
    coefficient = BatchedGrid.of(a, dims, "a")
    shared = coefficient.batch == 1
    if coefficient.shape != around.shape or coefficient.strides != around.strides or not (shared or coefficient.batch == to.batch):
        raise ShapeError(
            f"a must lie as u does, shape {around.shape}, strides {around.strides}: got {coefficient.shape}, {coefficient.strides}"
        )
    a_batch = 0 if shared else coefficient.batch_stride
    return DIFFUSION[dims].bind(out, u, a, to.batch, *to.shape, *to.steps, *around.steps, a_batch, *scale, **_launched(to, dims))


def _launched(to: BatchedGrid, dims: int) -> dict[str, Any]:
    return {"extent": to.extent, "shape": column_shape(to.extent) if dims == 3 else None}


def _grids(out: Array, u: Array, dims: int) -> tuple[BatchedGrid, BatchedGrid]:
    if dims not in STAR:
        raise ShapeError(f"stencils are for two and three dims, got weights for {dims}")
    to, around = BatchedGrid.of(out, dims, "out"), BatchedGrid.of(u, dims, "u")
    around.require_around(to, "u")
    return to, around
