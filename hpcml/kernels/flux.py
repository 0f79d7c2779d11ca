"""Fluxes of transported quantities through cell faces by fifth-order WENO, along any dim."""

import math

from hpcml.core.errors import ShapeError
from hpcml.kernels.arguments import Array, array_info
from hpcml.kernels.flux_twin import weno5_flux_twin
from hpcml.kernels.kernel import Kernel

WENO5_FLUX = Kernel("flux", "weno5_flux", weno5_flux_twin)
GHOSTS = 3


def weno5_flux(flux: Array, u: Array, speed: Array, dim: int) -> None:
    """Flux of the state that WENO5 reconstructs at every face from its upwind side.

        flux_f = speed_f u_(left of f)   where speed_f > 0,   speed_f u_(right of f)   elsewhere

    Parameters
    ----------
    flux : array of float32 or float64, (..., cells + 1, ...)
        Written: one value per face, the outer faces included.
    u : array of the same dtype, (..., cells + 6, ...)
        With three ghost cells on either side of ``dim``.
    speed : array of the same dtype and of the shape of ``flux``
        Velocity normal to every face.
    dim : int
        The dim that the faces cut.

    Raises
    ------
    ShapeError
        For shapes that do not fit, or an array that is not contiguous.

    Communication
    -------------
    Local. Deterministic; the same bits on the CPU, on a GPU and by the twin.

    Notes
    -----
    Fifth order where u is smooth, without oscillations at jumps; with a third-order Runge-Kutta method cfl up to about 1.

    References
    ----------
    G.-S. Jiang, C.-W. Shu, Efficient implementation of weighted ENO schemes, J. Comput. Phys. 126 (1996), doi:10.1006/jcph.1996.0130.
    """
    shape, cells = list(array_info(flux).shape), list(array_info(u).shape)
    expected = shape.copy()
    expected[dim] += 2 * GHOSTS - 1
    if cells != expected:
        raise ShapeError(
            f"fluxes of shape {shape} along dim {dim} need u with {GHOSTS} ghost cells a side: expected {expected}, got {cells}"
        )
    if array_info(speed).shape != array_info(flux).shape:
        raise ShapeError(f"expected two arrays of one value per face, got shapes {array_info(flux).shape} and {array_info(speed).shape}")
    outer, inner = math.prod(shape[: dim % len(shape)]), math.prod(shape[dim % len(shape) + 1 :])
    faces = shape[dim] * inner
    WENO5_FLUX(flux, u, speed, outer, faces, inner, extent=(faces, outer))
