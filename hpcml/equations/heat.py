"""Heat equation in 1 to 3 dims.

    uₜ = ν Δu

A bump spreads and flattens: every wave of wavenumber k decays as exp(-ν k² t), so small structures go first and the mean stays for ever.

Good values: 64² cells of a unit box, diffusivity 0.01, amplitude 1, step `Heat.stable_step` (6e-3), 100 steps. Explicit steps shrink
as dx².
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hpcml.core.config import Positive
from hpcml.equations.equation import Equation
from hpcml.equations.padded import Padded
from hpcml.equations.random_field import random_field
from hpcml.fields.domain import Domain
from hpcml.mpi.call import named_call


@dataclass(frozen=True)
class Heat(Equation):
    """uₜ = ν Δu, periodic or with insulated walls.

    Parameters
    ----------
    diffusivity : float
        ν, length² per time.

    Notes
    -----
    Second order in space: (1, -2, 1) / dx² along every dim, one ghost cell.

    Examples
    --------
    >>> Heat(diffusivity=0.1).channels(2)
    ('temperature',)
    """

    needs_periodic: ClassVar[bool] = False

    diffusivity: Positive = 0.01

    def channels(self, num_dims: int) -> tuple[str, ...]:
        return ("temperature",)

    @named_call
    def tendency(self, state: Tensor, domain: Domain) -> Tensor:
        return Padded.of(state, domain, 1).laplacian(self.diffusivity)

    def exact(self, domain: Domain, time: float) -> Tensor:
        """Product over the dims of cos(2π x / L), which decays; it has no slope at walls."""
        wavenumbers = [2 * math.pi / extent for extent in domain.grid.extent]
        wave = torch.full((), math.exp(-self.diffusivity * sum(k * k for k in wavenumbers) * time), dtype=torch.float64)
        for k, x in zip(wavenumbers, domain.centres(), strict=True):
            wave = wave * torch.cos(k * x)
        return wave[None, None]

    def initial_state(self, domain: Domain, samples: range, seed: int = 0) -> Tensor:
        """Smooth fields of root mean square 1 with up to 5 waves along each dim."""
        return random_field(domain, samples, 1, ("heat", seed), lambda k: torch.exp(-((k / 3) ** 2)), num_waves=5)

    def stable_step(self, domain: Domain, state: Tensor | None = None) -> float:
        return 0.5 / (self.diffusivity * sum(dx**-2 for dx in domain.grid.spacing))
