"""What the stencil kernels mean: sums of shifted slices.

The arguments are the kernels'; sizes and strides are those of the arrays and so are not needed here.
"""

from typing import Any

from hpcml.kernels.arguments import Array


def five_point_twin(out: Array, u: Array, *rest: Any) -> None:
    """Weighted sum of a cell and its four neighbors."""
    centre, near_y, near_x = rest[-3:]
    out[...] = (
        centre * u[..., 1:-1, 1:-1] + near_y * (u[..., :-2, 1:-1] + u[..., 2:, 1:-1]) + near_x * (u[..., 1:-1, :-2] + u[..., 1:-1, 2:])
    )


def seven_point_twin(out: Array, u: Array, *rest: Any) -> None:
    """Weighted sum of a cell and its six neighbors."""
    centre, near_z, near_y, near_x = rest[-4:]
    out[...] = (
        centre * u[..., 1:-1, 1:-1, 1:-1]
        + near_z * (u[..., :-2, 1:-1, 1:-1] + u[..., 2:, 1:-1, 1:-1])
        + near_y * (u[..., 1:-1, :-2, 1:-1] + u[..., 1:-1, 2:, 1:-1])
        + near_x * (u[..., 1:-1, 1:-1, :-2] + u[..., 1:-1, 1:-1, 2:])
    )


def diffusion_2d_twin(out: Array, u: Array, a: Array, *rest: Any) -> None:
    """Difference of the fluxes through opposite faces, in two dims."""
    scale_y, scale_x = rest[-2:]
    out[...] = scale_y * _faces(u[..., 1:-1], a[..., 1:-1], -2) + scale_x * _faces(u[..., 1:-1, :], a[..., 1:-1, :], -1)


def diffusion_3d_twin(out: Array, u: Array, a: Array, *rest: Any) -> None:
    """Difference of the fluxes through opposite faces, in three dims."""
    scale_z, scale_y, scale_x = rest[-3:]
    out[...] = (
        scale_z * _faces(u[..., 1:-1, 1:-1], a[..., 1:-1, 1:-1], -3)
        + scale_y * _faces(u[..., 1:-1, :, 1:-1], a[..., 1:-1, :, 1:-1], -2)
        + scale_x * _faces(u[..., 1:-1, 1:-1, :], a[..., 1:-1, 1:-1, :], -1)
    )


def _faces(u: Array, a: Array, dim: int) -> Array:
    """Flux through the upper face of every inner cell along a dim, less that through the lower face."""
    after = (slice(None),) * (-dim - 1)
    low, mid, high = ((..., part, *after) for part in (slice(None, -2), slice(1, -1), slice(2, None)))
    return 0.5 * (a[mid] + a[high]) * (u[high] - u[mid]) - 0.5 * (a[low] + a[mid]) * (u[mid] - u[low])
