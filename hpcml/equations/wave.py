"""Wave equation in 1 to 3 dims, as a system of first order in time.

    uₜ = v
    vₜ = c² Δu

Disturbances travel at speed c in all directions, pass through each other and, at walls, come back; energy ½ ∫ v² + c² |∇u|² is kept.

Good values: 128² cells of a unit box, speed 1, amplitude 1, step `Wave.stable_step` (4e-3), 10 cells per wavelength or more.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hpcml.core.config import Positive
from hpcml.equations.equation import Equation
from hpcml.equations.padded import Padded
from hpcml.equations.product import product
from hpcml.equations.random_field import random_field
from hpcml.fields.domain import Domain
from hpcml.mpi.call import named_call


@dataclass(frozen=True)
class Wave(Equation):
    """uₜₜ = c² Δu, periodic or with walls at which the slope of u vanishes.

    Parameters
    ----------
    speed : float
        c, length per time.

    Notes
    -----
    Second order in space; one ghost cell. Short waves lag: by a phase of (k dx)² / 24 of each period.

    Examples
    --------
    >>> Wave().channels(1)
    ('displacement', 'velocity')
    """

    needs_periodic: ClassVar[bool] = False

    speed: Positive = 1.0

    def channels(self, num_dims: int) -> tuple[str, ...]:
        return ("displacement", "velocity")

    @named_call
    def tendency(self, state: Tensor, domain: Domain) -> Tensor:
        displacement, velocity = state[:, :1], state[:, 1:]
        return torch.cat([velocity, Padded.of(displacement, domain, 1).laplacian(self.speed**2)], 1)

    def exact(self, domain: Domain, time: float) -> Tensor:
        """Standing wave: cos(ω t) times the product of cos(2π x / L), with ω = c |k|."""
        wavenumbers = [2 * math.pi / extent for extent in domain.grid.extent]
        omega = self.speed * math.hypot(*wavenumbers)
        shape = product([torch.cos(k * x) for k, x in zip(wavenumbers, domain.centres(), strict=True)])
        return torch.stack([math.cos(omega * time) * shape, -omega * math.sin(omega * time) * shape])[None]

    def initial_state(self, domain: Domain, samples: range, seed: int = 0) -> Tensor:
        """Smooth displacements of root mean square 1 with up to 5 waves along each dim, at rest."""
        displacement = random_field(domain, samples, 1, ("wave", seed), lambda k: torch.exp(-((k / 3) ** 2)), num_waves=5)
        return torch.cat([displacement, torch.zeros_like(displacement)], 1)

    def stable_step(self, domain: Domain, state: Tensor | None = None) -> float:
        return 0.8 / (self.speed * math.sqrt(sum(dx**-2 for dx in domain.grid.spacing)))
