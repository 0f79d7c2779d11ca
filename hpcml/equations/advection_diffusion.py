"""Advection and diffusion at constant velocity in 1 to 3 dims.

    uₜ + c · ∇u = ν Δu

The field travels at velocity c, unchanged for ν = 0, while diffusion smooths it on the way.

Good values: 128 cells of a unit box, velocity 1, diffusivity 0 to 1e-3, amplitude 1, step `AdvectionDiffusion.stable_step` (about 6e-3).
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hpcml.core.config import NonNegative, Velocity
from hpcml.core.errors import ConfigError
from hpcml.equations.equation import Equation
from hpcml.equations.padded import Padded
from hpcml.equations.random_field import random_field
from hpcml.fields.domain import Domain
from hpcml.mpi.call import named_call


@dataclass(frozen=True)
class AdvectionDiffusion(Equation):
    """uₜ + c · ∇u = ν Δu, periodic.

    Parameters
    ----------
    velocity : tuple of float
        c, one component per dim, length per time.
    diffusivity : float
        ν, length² per time.
    scheme : str
        ``upwind`` is of third order in space, biased against the stream, with two ghost cells; a jump makes it ring by a few per cent.
        ``weno`` is of fifth order in the advection (fourth in the diffusion) with three, and a jump makes no new extrema.

    References
    ----------
    G.-S. Jiang and C.-W. Shu, Journal of Computational Physics 126, 202 (1996).

    Examples
    --------
    >>> AdvectionDiffusion(velocity=(1.0,)).channels(1)
    ('concentration',)
    """

    velocity: Velocity
    diffusivity: NonNegative = 0.0
    scheme: Literal["upwind", "weno"] = "upwind"

    def check(self, domain: Domain) -> None:
        super().check(domain)
        if self.scheme not in ("upwind", "weno"):
            raise ConfigError(f"advection is by the scheme upwind or weno, got {self.scheme!r}")
        if len(self.velocity) != domain.num_dims:
            raise ConfigError(f"velocity needs {domain.num_dims} components for a grid of shape {domain.global_shape}, got {self.velocity}")

    def channels(self, num_dims: int) -> tuple[str, ...]:
        return ("concentration",)

    @named_call
    def tendency(self, state: Tensor, domain: Domain) -> Tensor:
        weno = self.scheme == "weno"
        padded = Padded.of(state, domain, 3 if weno else 2)
        rate = self.diffusivity * padded.laplacian_4() if self.diffusivity else torch.zeros_like(state)
        for dim, velocity in enumerate(self.velocity):
            if velocity:
                rate = rate - (padded.advection_weno(dim, velocity) if weno else padded.advection(dim, velocity))
        return rate

    def exact(self, domain: Domain, time: float) -> Tensor:
        """Product over the dims of sin(2π (x - c t) / L), which decays."""
        wavenumbers = [2 * math.pi / extent for extent in domain.grid.extent]
        wave = torch.full((), math.exp(-self.diffusivity * sum(k * k for k in wavenumbers) * time), dtype=torch.float64)
        for k, x, c in zip(wavenumbers, domain.centres(), self.velocity, strict=True):
            wave = wave * torch.sin(k * (x - c * time))
        return wave[None, None]

    def initial_state(self, domain: Domain, samples: range, seed: int = 0) -> Tensor:
        """Smooth fields of root mean square 1 with up to 5 waves along each dim."""
        return random_field(domain, samples, 1, ("advection_diffusion", seed), lambda k: torch.exp(-((k / 3) ** 2)), num_waves=5)

    def stable_step(self, domain: Domain, state: Tensor | None = None) -> float:
        spacing = domain.grid.spacing
        passing = sum(abs(c) / dx for c, dx in zip(self.velocity, spacing, strict=True))
        rate = passing + 8 / 3 * self.diffusivity * sum(dx**-2 for dx in spacing)
        return 1.0 / rate if rate else math.inf
