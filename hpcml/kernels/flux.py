"""Fluxes of transported quantities through cell faces: first-order upwind and fifth-order WENO, along any dim."""

import math

from hpcml.core.errors import ShapeError
from hpcml.kernels.arguments import Array, array_info
from hpcml.kernels.flux_twin import upwind_flux_twin, weno5_faces_twin, weno5_flux_twin
from hpcml.kernels.kernel import Kernel

UPWIND_FLUX = Kernel("flux", "upwind_flux", upwind_flux_twin)
WENO5_FLUX = Kernel("flux", "weno5_flux", weno5_flux_twin)
WENO5_FACES = Kernel("flux", "weno5_faces", weno5_faces_twin)


def upwind_flux(flux: Array, u: Array, speed: Array, dim: int) -> None:
    """Flux carried from the upwind cell.

        flux_f = speed_f u_(left of f)   where speed_f > 0,   speed_f u_(right of f)   elsewhere

    Parameters
    ----------
    flux : array of float32 or float64, (..., cells + 1, ...)
        Written: one value per face, the outer faces included.
    u : array of the same dtype, (..., cells + 2, ...)
        With one ghost cell on either side of ``dim``.
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
    First order. The step must keep cfl = |speed| dt / dx at most 1.
    """
    outer, faces, inner = _sizes(flux, u, dim, ghosts=1)
    _same_shape(flux, speed)
    UPWIND_FLUX(flux, u, speed, outer, faces, inner, extent=(faces, outer))


def weno5_flux(flux: Array, u: Array, speed: Array, dim: int) -> None:
    """Flux of the state that WENO5 reconstructs at every face from its upwind side.

    Parameters and errors are those of `upwind_flux`, with three ghost cells on either side: ``u`` is (..., cells + 6, ...).

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
    outer, faces, inner = _sizes(flux, u, dim, ghosts=3)
    _same_shape(flux, speed)
    WENO5_FLUX(flux, u, speed, outer, faces, inner, extent=(faces, outer))


def weno5_faces(left: Array, right: Array, u: Array, dim: int) -> None:
    """States that WENO5 reconstructs on both sides of every face, for a Riemann solver of one's own.

    Parameters
    ----------
    left, right : array of float32 or float64, (..., cells + 1, ...)
        Written: the state seen from the cells before and after the face.
    u : array of the same dtype, (..., cells + 6, ...)
        With three ghost cells on either side of ``dim``.
    dim : int
        The dim that the faces cut.

    Raises
    ------
    ShapeError
        For shapes that do not fit, or an array that is not contiguous.

    Communication
    -------------
    Local. Deterministic; the same bits on the CPU, on a GPU and by the twin.
    """
    outer, faces, inner = _sizes(left, u, dim, ghosts=3)
    _same_shape(left, right)
    WENO5_FACES(left, right, u, outer, faces, inner, extent=(faces, outer))


def _sizes(result: Array, u: Array, dim: int, ghosts: int) -> tuple[int, int, int]:
    """Number of outer entries, faces times inner entries, and inner entries."""
    shape, cells = list(array_info(result).shape), list(array_info(u).shape)
    expected = shape.copy()
    expected[dim] += 2 * ghosts - 1
    if cells != expected:
        raise ShapeError(
            f"fluxes of shape {shape} along dim {dim} need u with {ghosts} ghost cells a side: expected {expected}, got {cells}"
        )
    inner = math.prod(shape[dim % len(shape) + 1 :])
    return math.prod(shape[: dim % len(shape)]), shape[dim] * inner, inner


def _same_shape(one: Array, other: Array) -> None:
    if array_info(one).shape != array_info(other).shape:
        raise ShapeError(f"expected two arrays of one value per face, got shapes {array_info(one).shape} and {array_info(other).shape}")
