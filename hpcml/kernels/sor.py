"""Red-black successive over-relaxation for constant 5- and 7-point operators, in place."""

from collections.abc import Sequence

from hpcml.core.errors import ShapeError
from hpcml.kernels.arguments import Array
from hpcml.kernels.batched_grid import BatchedGrid
from hpcml.kernels.kernel import Kernel
from hpcml.kernels.launch import Launch
from hpcml.kernels.sor_twin import sor_5_twin, sor_7_twin

SOR = {
    2: Kernel("sor", "sor_5", sor_5_twin, strided=("u", "f")),
    3: Kernel("sor", "sor_7", sor_7_twin, strided=("u", "f")),
}


def sor_half_sweep(u: Array, f: Array, centre: float, near: Sequence[float], omega: float, colour: int) -> None:
    """Relax the cells of one colour towards  centre u_i + sum_d near_d (u_(i - e_d) + u_(i + e_d)) = f_i.

    Parameters
    ----------
    u : array of float32 or float64, (..., *cells + 2)
        Updated; one ghost cell on every side.
    f : array of the same dtype, (..., *cells)
        Right-hand side; must not overlap ``u``.
    centre : float
        Diagonal of the operator, not zero; for the Laplacian -2 sum_d 1 / dx_d^2.
    near : sequence of float
        Weight of the neighbors across each spatial dim: two or three of them.
    omega : float
        Relaxation, 0 < omega < 2; 1 is Gauss-Seidel.
    colour : int
        Cells with an even (0) or odd (1) sum of their indices, counted from the first cell of ``f``. On a block of a distributed grid add
        the sum of its global offsets, so that all ranks relax the same colour.

    Raises
    ------
    ShapeError
        For shapes that do not fit, and for a number of dims other than two and three.

    Communication
    -------------
    Local: the ghost cells are exchanged before each half sweep. Deterministic; the same bits on the CPU, on a GPU and by the twin, and in
    any block decomposition.

    Notes
    -----
    A sweep is colour 0, then colour 1. `bind_sor_half_sweep` checks the arguments once.

    Examples
    --------
    >>> import numpy as np
    >>> u = np.zeros((3, 3)); u[0] = 4.0
    >>> sor_half_sweep(u, np.zeros((1, 1)), -4.0, (1.0, 1.0), 1.0, 0)
    >>> float(u[1, 1])
    1.0
    """
    bind_sor_half_sweep(u, f, centre, near, omega, colour)()


def bind_sor_half_sweep(u: Array, f: Array, centre: float, near: Sequence[float], omega: float, colour: int) -> Launch:
    """Launch of `sor_half_sweep` on arrays that stay."""
    dims = len(near)
    if dims not in SOR or centre == 0:
        raise ShapeError(f"SOR is for two and three dims and a diagonal other than 0, got weights for {dims} and the diagonal {centre}")
    around, cells = BatchedGrid.of(u, dims, "u"), BatchedGrid.of(f, dims, "f")
    around.require_around(cells, "u")
    weights = (1.0 / centre, *near, omega)
    extent = (-(-cells.extent[0] // 2), *cells.extent[1:])
    return SOR[dims].bind(u, f, cells.batch, *cells.shape, *around.steps, *cells.steps, *weights, colour, extent=extent)
