"""What the face kernels mean: differences of shifted slices; sizes and strides are those of the arrays."""

from typing import Any

from hpcml.kernels.arguments import Array


def faces_2d_twin(out: Array, u: Array, wy: Array, wx: Array, *sizes: Any) -> None:
    """In two dims."""
    out[...] = _out_of(u[..., 1:-1], wy, -2) + _out_of(u[..., 1:-1, :], wx, -1)


def faces_3d_twin(out: Array, u: Array, wz: Array, wy: Array, wx: Array, *sizes: Any) -> None:
    """In three dims."""
    rows = u[..., 1:-1, :, :]
    out[...] = _out_of(u[..., 1:-1, 1:-1], wz, -3) + _out_of(rows[..., 1:-1], wy, -2) + _out_of(rows[..., 1:-1, :], wx, -1)


def _out_of(u: Array, w: Array, dim: int) -> Array:
    """Flux through the lower face of every cell along a dim, less that through the upper face."""
    after = (slice(None),) * (-dim - 1)
    low, high = (..., slice(None, -1), *after), (..., slice(1, None), *after)
    flux = w * (u[high] - u[low])
    return flux[low] - flux[high]
