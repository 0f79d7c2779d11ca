"""Divergence of a flux whose coefficient is given for every face, in two and three dims."""

from collections.abc import Sequence

from torch import Tensor

from hpcml.core.errors import ShapeError
from hpcml.kernels.arguments import Array, array_info
from hpcml.kernels.batched_grid import BatchedGrid
from hpcml.kernels.face_divergence_twin import faces_2d_twin, faces_3d_twin
from hpcml.kernels.kept_launch import run_kept
from hpcml.kernels.kernel import Kernel
from hpcml.kernels.launch import Launch

FACES = {
    2: Kernel("faces", "faces_2d", faces_2d_twin, strided=("u",)),
    3: Kernel("faces", "faces_3d", faces_3d_twin, strided=("u",)),
}


def minus_face_divergence(out: Array, u: Array, weights: Sequence[Array]) -> None:
    """Sum over the dims of what flows out of a cell, down the slope of u.

        out_i = sum_d w_(i - e_d / 2) (u_i - u_(i - e_d)) - w_(i + e_d / 2) (u_(i + e_d) - u_i)

    Parameters
    ----------
    out : array of float32 or float64, (..., *cells), contiguous
        Written.
    u : array of the same dtype, (..., *cells + 2)
        With one ghost cell on every side; rows contiguous.
    weights : sequence of array of the same dtype, contiguous
        For each of two or three dims (..., *cells with one more along it): the coefficients of this rank's faces over dx².

    Raises
    ------
    ShapeError
        For shapes that do not fit, and for a number of dims other than two and three.

    Communication
    -------------
    Local: the ghost cells are exchanged before. Deterministic; the same bits on the CPU, on a GPU and by the twin, and in any block
    decomposition.

    Examples
    --------
    >>> import numpy as np
    >>> u = np.zeros((3, 3)); u[1, 1] = 1.0
    >>> out = np.empty((1, 1))
    >>> minus_face_divergence(out, u, [np.array([[1.0], [2.0]]), np.array([[3.0, 4.0]])])
    >>> float(out[0, 0])
    10.0
    """
    if all(isinstance(array, Tensor) for array in (out, u, *weights)):
        run_kept("minus_face_divergence", (out, u, *weights), lambda: _bind(out, u, weights))
    else:
        _bind(out, u, weights)()


def _bind(out: Array, u: Array, weights: Sequence[Array]) -> Launch:
    dims = len(weights)
    if dims not in FACES:
        raise ShapeError(f"the divergence of face fluxes is for two and three dims, got weights for {dims}")
    cells, around = BatchedGrid.of(out, dims, "out"), BatchedGrid.of(u, dims, "u")
    around.require_around(cells, "u")
    lead = array_info(out).shape[:-dims]
    for d, weight in enumerate(weights):
        expected = (*lead, *(n + (k == d) for k, n in enumerate(cells.shape)))
        if (got := array_info(weight).shape) != expected:
            raise ShapeError(f"the weights of dim {d} need one more than the cells there: expected {expected}, got {got}")
    return FACES[dims].bind(out, u, *weights, cells.batch, *cells.shape, *around.steps, extent=cells.extent)
