"""Heat in a plate whose walls and whose first state have temperatures of their own: the usual test of training while simulations run."""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from hpcml.core.config import Positive
from hpcml.core.errors import ConfigError
from hpcml.fields.domain import Domain

TEMPERATURES = ("initial", "top", "bottom", "left", "right")


def heat_plate(domain: Domain, parameters: Mapping[str, float], interval: float, diffusivity: Positive = 1.0) -> Iterator[Tensor]:
    """Temperatures of a plate, from the first step on, by the implicit Euler method.

        (u' - u) / dt = diffusivity (u'_xx + u'_yy)        by second differences, whose system sine transforms solve

    Cells are the inner nodes of a mesh, of which the walls are the outermost lines.

    Parameters
    ----------
    domain : Domain
        Of two dims.
    parameters : mapping of str to float
        ``initial``, and the temperatures of the walls: ``top`` and ``bottom``, before the first and after the last row, ``left`` and
        ``right``.
    interval : float
        Time step.
    diffusivity : float
        Of the plate.

    Yields
    ------
    Tensor
        float64, (*local_shape).

    Raises
    ------
    ConfigError
        For parameters that are missing, and for a grid of other dims.

    Communication
    -------------
    Local: every rank has all coefficients of the sines, and makes its own cells of them.

    References
    ----------
    As `hpcml.models.parameter_mlp.ParameterMLP`.
    """
    if missing := [name for name in TEMPERATURES if name not in parameters]:
        raise ConfigError(f"heat_plate lacks data.parameters.{missing[0]}: give a range for each of {', '.join(TEMPERATURES)}")
    if domain.num_dims != 2:
        raise ConfigError(f"heat_plate is a plate of 2 dims, got grid.shape = {list(domain.global_shape)}")
    (rows, up), (columns, across) = (_sines(n) for n in domain.global_shape)
    spacing = [length / (n + 1) for length, n in zip(domain.grid.extent, domain.global_shape, strict=True)]
    pull, pull_across = (interval * diffusivity / h**2 for h in spacing)
    source = torch.zeros(domain.global_shape, dtype=torch.float64)
    source[0] += pull * parameters["top"]
    source[-1] += pull * parameters["bottom"]
    source[:, 0] += pull_across * parameters["left"]
    source[:, -1] += pull_across * parameters["right"]
    there = rows @ source @ columns
    inner = rows @ torch.full(domain.global_shape, float(parameters["initial"]), dtype=torch.float64) @ columns
    divisor = 1 + pull * up[:, None] + pull_across * across
    mine = rows[domain.block[0].start : domain.block[0].stop], columns[:, domain.block[1].start : domain.block[1].stop]
    while True:
        inner = (inner + there) / divisor
        yield mine[0] @ inner @ mine[1]


def _sines(n: int) -> tuple[Tensor, Tensor]:
    """Orthonormal sines of n nodes between two walls, a symmetric matrix, and what the second difference makes of each."""
    k = torch.arange(1, n + 1, dtype=torch.float64)
    matrix = math.sqrt(2 / (n + 1)) * torch.sin(math.pi * k[:, None] * k / (n + 1))
    return matrix, 2 - 2 * torch.cos(math.pi * k / (n + 1))
