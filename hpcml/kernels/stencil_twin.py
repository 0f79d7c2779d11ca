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
