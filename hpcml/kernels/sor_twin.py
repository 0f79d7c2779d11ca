"""What the SOR kernels mean: relax all cells, keep those of the colour."""

from typing import Any

import numpy as np
import torch

from hpcml.kernels.arguments import Array


def sor_5_twin(u: Array, f: Array, *rest: Any) -> None:
    """One colour in two dims; arguments are the kernel's."""
    inverse_centre, near_y, near_x, omega, colour = rest[-5:]
    around = f - near_y * (u[..., :-2, 1:-1] + u[..., 2:, 1:-1]) - near_x * (u[..., 1:-1, :-2] + u[..., 1:-1, 2:])
    _relax(u[..., 1:-1, 1:-1], around, inverse_centre, omega, _of_colour(f.shape[-2:], colour))


def sor_7_twin(u: Array, f: Array, *rest: Any) -> None:
    """One colour in three dims; arguments are the kernel's."""
    inverse_centre, near_z, near_y, near_x, omega, colour = rest[-6:]
    around = (
        f
        - near_z * (u[..., :-2, 1:-1, 1:-1] + u[..., 2:, 1:-1, 1:-1])
        - near_y * (u[..., 1:-1, :-2, 1:-1] + u[..., 1:-1, 2:, 1:-1])
        - near_x * (u[..., 1:-1, 1:-1, :-2] + u[..., 1:-1, 1:-1, 2:])
    )
    _relax(u[..., 1:-1, 1:-1, 1:-1], around, inverse_centre, omega, _of_colour(f.shape[-3:], colour))


def _relax(cells: Array, around: Array, inverse_centre: float, omega: float, chosen: np.ndarray) -> None:
    mask = torch.from_numpy(chosen).to(cells.device) if isinstance(cells, torch.Tensor) else chosen
    relaxed = cells + omega * (around * inverse_centre - cells)
    cells[..., mask] = relaxed[..., mask]


def _of_colour(shape: tuple[int, ...], colour: int) -> np.ndarray:
    return (np.indices(shape).sum(axis=0) + colour) % 2 == 0
