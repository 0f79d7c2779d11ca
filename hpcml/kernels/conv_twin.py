"""What the convolution kernels mean: torch's convolution of the padded array, and its derivative by the weights."""

from typing import Any

import torch
from torch.nn import functional

from hpcml.kernels.arguments import Array, as_tensor


def convolve_twin(out: Array, x: Array, w: Array, bias: Array | None, *rest: Any) -> None:
    """Convolution with zeros around x, or its adjoint."""
    ny, nx, in_ny, in_nx, pad_y, pad_x, ky, kx, adjoint = rest[3:12]
    weight = as_tensor(w).transpose(0, 1).flip(2, 3) if adjoint else as_tensor(w)
    padded = functional.pad(as_tensor(x), (pad_x, nx + kx - 1 - in_nx - pad_x, pad_y, ny + ky - 1 - in_ny - pad_y))
    as_tensor(out).copy_(functional.conv2d(padded, weight, None if bias is None else as_tensor(bias)))


def weight_gradient_twin(dw: Array, db: Array | None, dy: Array, x: Array, *rest: Any) -> None:
    """Every weight's tap is a convolution of x with the gradient of the output."""
    ny, nx, in_ny, in_nx, pad_y, pad_x, ky, kx = rest[3:11]
    padded = functional.pad(as_tensor(x), (pad_x, nx + kx - 1 - in_nx - pad_x, pad_y, ny + ky - 1 - in_ny - pad_y))
    windows = padded.unfold(2, ny, 1).unfold(3, nx, 1)
    as_tensor(dw).copy_(torch.einsum("boyx,bcjiyx->ocji", as_tensor(dy), windows))
    if db is not None:
        as_tensor(db).copy_(as_tensor(dy).sum((0, 2, 3)))
