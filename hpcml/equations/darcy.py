"""Darcy flow with a variable coefficient, steady, in 1 to 3 dims.

    -∇·(a ∇p) = f,      p = 0 at the walls

The pressure rises from the walls to a dome where the ground is tight (a small) and is flat where it is permeable; it is continuous
across jumps of a, and its slope is not.

Good values: 64² cells of a unit box that is not periodic, source 1, a = 12 or 3 in patches (`Darcy.initial_state`); p is then of order
0.01.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hpcml.core.config import Real
from hpcml.core.errors import ConfigError
from hpcml.equations.equation import Equation
from hpcml.equations.padded import Padded, fits_a_kernel
from hpcml.equations.product import product
from hpcml.equations.random_field import random_field
from hpcml.fields.domain import Domain
from hpcml.kernels.face_divergence import minus_face_divergence
from hpcml.mpi.call import named_call


@dataclass(frozen=True)
class Darcy(Equation):
    """-∇·(a ∇p) = f with p = 0 at the walls; the state holds the coefficient a and the pressure p.

    Parameters
    ----------
    source : float
        f, pressure times coefficient per length².

    Notes
    -----
    Finite volumes: a flux through every face, with the harmonic mean of a on both sides, so that jumps of a on faces are met exactly;
    second order where a is smooth. One ghost cell.

    Examples
    --------
    >>> Darcy().channels(2)
    ('coefficient', 'pressure')
    """

    needs_periodic: ClassVar[bool] = False
    steady: ClassVar[bool] = True
    given: ClassVar[tuple[str, ...]] = ("coefficient",)
    solver: ClassVar[str] = "darcy"

    source: Real = 1.0

    def check(self, domain: Domain) -> None:
        super().check(domain)
        if any(domain.grid.periodic):
            raise ConfigError(f"Darcy flow needs walls in every dim, got periodic = {domain.grid.periodic}: set periodic = False")

    def channels(self, num_dims: int) -> tuple[str, ...]:
        return ("coefficient", "pressure")

    @named_call
    def tendency(self, state: Tensor, domain: Domain) -> Tensor:
        """Residual f + ∇·(a ∇p) as the pressure's rate of change: following it in time relaxes to the solution; a does not change.

        Communication
        -------------
        Neighbors, one message each for the coefficient and for the pressure.
        """
        coefficient, pressure = state[:, :1], state[:, 1:]
        residual = self.source - minus_divergence(face_weights(coefficient, domain), pressure, domain)
        return torch.cat([torch.zeros_like(coefficient), residual], 1)

    def exact(self, domain: Domain, time: float = 0.0) -> Tensor:
        """Π sin(π x / L) in a medium a = 1 + Π cos(2π x / L) / 2, for the source `exact_source`; the same at all times."""
        sines, _, _, medium = self._exact_parts(domain)
        return torch.stack([medium, product(sines)])[None]

    def exact_source(self, domain: Domain) -> Tensor:
        """Source that belongs to `exact`, float64, (1, 1, *local_shape)."""
        sines, cosines, angles, medium = self._exact_parts(domain)
        wavenumbers = [math.pi / extent for extent in domain.grid.extent]
        total = medium * product(sines) * sum(k * k for k in wavenumbers)
        for dim, k in enumerate(wavenumbers):
            others = [d for d in range(domain.num_dims) if d != dim]
            slope_a = -k * torch.sin(2 * angles[dim]) * product([torch.cos(2 * angles[d]) for d in others])
            slope_p = k * cosines[dim] * product([sines[d] for d in others])
            total = total - slope_a * slope_p
        return total[None, None]

    def initial_state(self, domain: Domain, samples: range, seed: int = 0) -> Tensor:
        """Coefficient a = 12 where a smooth random field is positive and 3 elsewhere, p = 0.

        References
        ----------
        Z. Li and others, Fourier neural operator for parametric partial differential equations, arXiv:2010.08895, appendix A.3.
        """
        field = random_field(domain, samples, 1, ("darcy", seed), lambda k: 1 / ((2 * math.pi * k) ** 2 + 9), num_waves=16)
        coefficient = torch.where(field > 0, 12.0, 3.0).double()
        return torch.cat([coefficient, torch.zeros_like(coefficient)], 1)

    def stable_step(self, domain: Domain, state: Tensor | None = None) -> float:
        """Of the relaxation in time that `tendency` describes, for coefficients up to 12."""
        return 0.5 / (12 * sum(dx**-2 for dx in domain.grid.spacing))

    def _exact_parts(self, domain: Domain) -> tuple[list[Tensor], list[Tensor], list[Tensor], Tensor]:
        angles = [math.pi * x / extent for x, extent in zip(domain.centres(), domain.grid.extent, strict=True)]
        medium = 1 + 0.5 * product([torch.cos(2 * angle) for angle in angles])
        return [torch.sin(a) for a in angles], [torch.cos(a) for a in angles], angles, medium


def face_weights(coefficient: Tensor, domain: Domain) -> list[Tensor]:
    """What a difference of pressure across a face is multiplied with: harmonic mean of a, over dx²; at a wall 2 a / dx², half a cell away.

    Parameters
    ----------
    coefficient : Tensor
        a > 0, (batch, 1, *local_shape).
    domain : Domain
        Where it lives.

    Returns
    -------
    list of Tensor
        For each dim the n + 1 faces of this rank's cells, its first and last included.

    Communication
    -------------
    Neighbors, one message per neighbor.
    """
    padded = Padded.of(coefficient, domain, 1)
    weights = []
    for dim, (owned, dx) in enumerate(zip(domain.block, domain.grid.spacing, strict=True)):
        axis, line = dim - domain.num_dims, padded.line(dim)
        below, above = line.narrow(axis, 0, owned.size + 1), line.narrow(axis, 1, owned.size + 1)
        at_wall = torch.ones([owned.size + 1] + [1] * (-axis - 1), dtype=line.dtype, device=line.device)
        at_wall[0] += owned.start == 0
        at_wall[-1] += owned.stop == domain.global_shape[dim]
        weights.append(2 * below * above / (below + above) * (at_wall / dx**2))
    return weights


def minus_divergence(weights: list[Tensor], pressure: Tensor, domain: Domain) -> Tensor:
    """-∇·(a ∇p) for p = 0 at the walls: symmetric and positive definite.

    Where a kernel fits it is one pass over memory, with the same bits.

    Communication
    -------------
    Neighbors, one message per neighbor.
    """
    padded = Padded.of(pressure, domain, 1, wall="zero")
    if domain.num_dims > 1 and fits_a_kernel(pressure):
        out = torch.empty_like(pressure, memory_format=torch.contiguous_format)
        each = [weight.expand(*pressure.shape[:2], *weight.shape[2:]).contiguous() for weight in weights]
        minus_face_divergence(out, padded.values.contiguous(), each)
        return out
    total = torch.zeros_like(pressure)
    for dim, weight in enumerate(weights):
        axis = dim - domain.num_dims
        total = total - (weight * padded.line(dim).diff(dim=axis)).diff(dim=axis)
    return total


def diagonal(weights: list[Tensor]) -> Tensor:
    """Diagonal of `minus_divergence`, (batch, 1, *local_shape)."""
    num_dims = len(weights)
    parts = []
    for dim, weight in enumerate(weights):
        count = weight.shape[dim - num_dims] - 1
        parts.append(weight.narrow(dim - num_dims, 0, count) + weight.narrow(dim - num_dims, 1, count))
    return torch.stack(parts).sum(0)
