"""What the flux kernel means: formulas over shifted slices."""

from typing import Any

import torch
from torch import Tensor

from hpcml.kernels.arguments import Array, as_tensor


def weno5_flux_twin(flux: Array, u: Array, speed: Array, outer: int, faces: int, inner: int) -> None:
    """State on the upwind side, times the speed."""
    cells = _cells(u, outer, faces, inner, 6)
    s = as_tensor(speed).reshape(outer, faces)
    as_tensor(flux).view(outer, faces).copy_(s * torch.where(s > 0, weno5(*cells[:5]), weno5(*cells[:0:-1])))


def weno5(a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor) -> Tensor:
    """State at the face after cell c: three quadratic extrapolations, weighted by how smooth each is."""

    def weight(share: int, bend: Tensor, tilt: Tensor) -> Tensor:
        rough = 1e-6 + (13.0 / 12.0 * (bend * bend) + 0.25 * (tilt * tilt))
        return share * (1 / (rough * rough))

    w0 = weight(1, a - 2 * b + c, a - 4 * b + 3 * c)
    w1 = weight(6, b - 2 * c + d, b - d)
    w2 = weight(3, c - 2 * d + e, 3 * c - 4 * d + e)
    total = w0 * (2 * a - 7 * b + 11 * c) + w1 * (5 * c - b + 2 * d) + w2 * (2 * c + 5 * d - e)
    return total / (6 * (w0 + w1 + w2))


def _cells(u: Array, outer: int, faces: int, inner: int, count: int) -> list[Any]:
    """The cells around every face, from the left: the array shifted by whole steps along the dim."""
    flat = as_tensor(u).reshape(outer, faces + (count - 1) * inner)
    return [flat[:, step * inner : step * inner + faces] for step in range(count)]
