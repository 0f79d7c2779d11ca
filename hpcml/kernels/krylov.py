"""Fused vector updates of Krylov methods: one pass over memory where NumPy and torch make several."""

import math

from hpcml.core.errors import ShapeError
from hpcml.kernels.arguments import Array, array_info
from hpcml.kernels.kernel import Kernel
from hpcml.kernels.krylov_twin import axpy_twin, bicgstab_direction_twin, bicgstab_update_twin, cg_update_twin, xpby_twin

AXPY = Kernel("krylov", "axpy", axpy_twin)
XPBY = Kernel("krylov", "xpby", xpby_twin)
CG_UPDATE = Kernel("krylov", "cg_update", cg_update_twin)
BICGSTAB_DIRECTION = Kernel("krylov", "bicgstab_direction", bicgstab_direction_twin)
BICGSTAB_UPDATE = Kernel("krylov", "bicgstab_update", bicgstab_update_twin)


def axpy(y: Array, x: Array, a: float) -> None:
    """Y += a x.

    Parameters
    ----------
    y, x : array of float32 or float64, contiguous, of one shape
        ``y`` is written; they must not overlap.
    a : float
        On the host: a scalar that lies on a GPU would make it wait.

    Raises
    ------
    ShapeError
        For vectors of different sizes or dtypes, or one that is not contiguous.

    Communication
    -------------
    Local: inner products, which need it, are not made here. Deterministic; the same bits on the CPU, on a GPU and by the twin. So are all
    functions of this file, and the same is asked of their arguments.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.ones(2)
    >>> axpy(y, np.array([1.0, 2.0]), 10.0)
    >>> y
    array([11., 21.])
    """
    n = _size(y, x)
    AXPY(y, x, a, n, extent=(n,))


def xpby(y: Array, x: Array, b: float) -> None:
    """Y = x + b y: the next direction of conjugate gradients, for y = p, x = r."""
    n = _size(y, x)
    XPBY(y, x, b, n, extent=(n,))


def cg_update(x: Array, r: Array, p: Array, q: Array, a: float) -> None:
    """X += a p and r -= a q: solution and residual of conjugate gradients after a step along p, with q = A p."""
    n = _size(x, r, p, q)
    CG_UPDATE(x, r, p, q, a, n, extent=(n,))


def bicgstab_direction(p: Array, r: Array, v: Array, b: float, w: float) -> None:
    """P = r + b (p - w v)."""
    n = _size(p, r, v)
    BICGSTAB_DIRECTION(p, r, v, b, w, n, extent=(n,))


def bicgstab_update(x: Array, r: Array, p: Array, s: Array, t: Array, a: float, w: float) -> None:
    """X += a p + w s and r = s - w t."""
    n = _size(x, r, p, s, t)
    BICGSTAB_UPDATE(x, r, p, s, t, a, w, n, extent=(n,))


def _size(*vectors: Array) -> int:
    sizes = {math.prod(array_info(vector).shape) for vector in vectors}
    if len(sizes) != 1:
        raise ShapeError(f"expected vectors of one size, got {sorted(sizes)}")
    return sizes.pop()
