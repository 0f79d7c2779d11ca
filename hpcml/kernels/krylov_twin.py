"""What the Krylov kernels mean; NumPy and torch write it alike."""

from hpcml.kernels.arguments import Array


def axpy_twin(y: Array, x: Array, a: float, n: int) -> None:
    """Add a multiple."""
    y[...] = y + a * x


def xpby_twin(y: Array, x: Array, b: float, n: int) -> None:
    """Scale and add."""
    y[...] = x + b * y


def cg_update_twin(x: Array, r: Array, p: Array, q: Array, a: float, n: int) -> None:
    """Step along a direction."""
    x[...] = x + a * p
    r[...] = r - a * q


def bicgstab_direction_twin(p: Array, r: Array, v: Array, b: float, w: float, n: int) -> None:
    """Next direction."""
    p[...] = r + b * (p - w * v)


def bicgstab_update_twin(x: Array, r: Array, p: Array, s: Array, t: Array, a: float, w: float, n: int) -> None:
    """Both half steps at once."""
    x[...] = x + (a * p + w * s)
    r[...] = s - w * t
