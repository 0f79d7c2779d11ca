"""Smooth random fields as sums of few waves with random coefficients: the same field on any number of ranks and at any resolution."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from hpcml.core.errors import ShapeError
from hpcml.fields.domain import Domain
from hpcml.mpi.seeds import normal

MOST_FUNCTIONS = 1024
"""Basis functions along one dim that a coefficient's number leaves room for; fixed, so that more waves change no coefficient."""


def random_field(
    domain: Domain, samples: range, num_channels: int, stream: tuple[str, int], spectrum: Callable[[Tensor], Tensor], num_waves: int
) -> Tensor:
    """Random fields of mean 0 and root mean square 1 over the whole grid.

        u(x) = Σₙ s(|n|) ξₙ Π_d φₙ_d(x_d),      ξₙ normal, keyed by (stream, sample, channel, n)

    with φ = 1, √2 cos(2π n x / L), √2 sin(2π n x / L) along a periodic dim and 1, √2 cos(π n x / L) between walls, where n counts half
    waves.

    Parameters
    ----------
    domain : Domain
        Where to evaluate.
    samples : range
        Numbers of the samples.
    num_channels : int
        Independent fields per sample.
    stream : (str, int)
        Name and seed: keeps the random numbers of different uses apart.
    spectrum : callable
        s: standard deviation of a coefficient for a number of waves per box.
    num_waves : int
        Most waves along each dim.

    Returns
    -------
    Tensor
        float64, (len(samples), num_channels, *local_shape).

    Raises
    ------
    ShapeError
        If ``num_waves`` leaves no room in the numbering of the coefficients.

    Communication
    -------------
    Local: the norm of a field is that of its coefficients.
    """
    bases, waves = zip(*(_basis(domain, dim, num_waves) for dim in range(domain.num_dims)), strict=True)
    if max(map(len, waves)) > MOST_FUNCTIONS:
        raise ShapeError(f"a random field has at most {MOST_FUNCTIONS} functions along a dim, got {max(map(len, waves))}: lower num_waves")
    total_waves = torch.stack(torch.meshgrid(*waves, indexing="ij")).square().sum(0).sqrt()
    name, seed = stream
    coefficients = normal(seed, name, _numbers(samples, num_channels, total_waves.shape), torch.float64) * spectrum(total_waves)
    coefficients.flatten(2)[..., 0] = 0.0  # a fluctuation about a mean that the equation adds
    modes = tuple(range(2, coefficients.dim()))
    field = (coefficients / coefficients.square().sum(modes, keepdim=True).sqrt()).to(domain.device)
    for basis in bases:
        field = _evaluate(field, basis)
    return field


def _evaluate(coefficients: Tensor, basis: Tensor) -> Tensor:
    """Sum over the functions of the first mode dim, which becomes the last dim of cells.

    Products and sums one after the other round alike for every cell, whatever the block; a matrix product takes another order for
    another shape, and a chaotic flow makes of the last bit another field.
    """
    total = torch.zeros((), dtype=torch.float64)
    for function, values in zip(coefficients.unbind(2), basis, strict=True):
        total = total + function[..., None] * values
    return total


def _basis(domain: Domain, dim: int, num_waves: int) -> tuple[Tensor, Tensor]:
    """Orthonormal functions at this rank's centres, (function, local cell), and the waves per box of each.

    Evaluated for the whole line, of which this rank's part is taken: the cosine of a cell may end in another bit where it stands elsewhere
    in a vector.
    """
    x = domain.grid.centres(dim) / domain.grid.extent[dim]
    if domain.grid.periodic[dim]:
        function = torch.arange(2 * num_waves + 1)
        waves = (function + 1) // 2
        phase = torch.where(function % 2 == 0, -0.25, 0.0)  # sin is cos a quarter of a wave later
    else:
        waves = torch.arange(2 * num_waves + 1) / 2
        phase = torch.zeros(len(waves))
    angles = 2 * math.pi * (waves[:, None].double() * x + phase[:, None].double())
    basis = math.sqrt(2) * torch.from_numpy(np.cos(angles.numpy()))  # one thread, whose cuts would be torch's
    basis[0] = 1.0
    return basis[:, domain.index[1 + dim]].to(domain.device), waves.double()


def _numbers(samples: range, num_channels: int, shape: torch.Size) -> Tensor:
    """Number of every coefficient, (sample, channel, *shape)."""
    number = torch.tensor(samples)[:, None] * num_channels + torch.arange(num_channels)
    for size in shape:
        number = number.unsqueeze(-1) * MOST_FUNCTIONS + torch.arange(size)
    return number
