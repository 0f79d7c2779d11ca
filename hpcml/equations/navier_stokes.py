"""Incompressible Navier-Stokes equations in 2 dims, for the vorticity ω = ∂₀u₁ - ∂₁u₀.

    ωₜ + u · ∇ω = ν Δω - α ω + f,      u = (∂₁ψ, -∂₀ψ),      -Δψ = ω

Vortices of one sign merge and those of opposite signs travel as pairs, while filaments between them are stretched until viscosity removes
them: energy goes to large structures, enstrophy to small ones. Without stirring all of it decays; drag α keeps stirred flows bounded.

Good values: 64² cells of a unit box, viscosity 1e-3, initial vorticity of root mean square 5 in structures of a fifth of the box
(`NavierStokes.initial_state`), step 4e-3, snapshots every 0.075: one differs from the next by a quarter at first, by a seventh after 20.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hpcml.core.config import NonNegative, Positive, Waves
from hpcml.equations.dealiased import Dealiased
from hpcml.equations.equation import Equation
from hpcml.equations.largest import largest
from hpcml.equations.random_field import random_field
from hpcml.fields.domain import Domain
from hpcml.mpi.call import named_call


@dataclass(frozen=True)
class NavierStokes(Equation):
    """Vorticity of an incompressible fluid in a periodic box of 2 dims.

    Parameters
    ----------
    viscosity : float
        ν, length² per time.
    drag : float
        α, per time.
    forcing : float
        A, per time²: vorticity per time that f = A (sin θ + cos θ) puts in, with θ = 2π (n₀ x₀ / L₀ + n₁ x₁ / L₁).
    stirring : (int, int)
        (n₀, n₁). With A = 0.1, (1, 1) is the flow of the first Fourier neural operators; (0, 4) is Kolmogorov's, in 4 strips.

    Notes
    -----
    Spectral in space, without aliases (`hpcml.equations.dealiased.Dealiased`): what a state holds above a third of the grid's modes is left
    out of its tendency. The mean vorticity of a periodic box is zero.

    References
    ----------
    C. Basdevant, Journal of Computational Physics 50, 209 (1983), for a product that takes four transforms; Z. Li and others,
    arXiv:2010.08895, for the flow with A = 0.1.

    Examples
    --------
    >>> NavierStokes(viscosity=1e-3).channels(2)
    ('vorticity',)
    """

    num_dims: ClassVar[tuple[int, ...]] = (2,)
    solver: ClassVar[str] = "spectral_navier_stokes"

    viscosity: Positive = 1e-3
    drag: NonNegative = 0.0
    forcing: NonNegative = 0.0
    stirring: tuple[Waves, Waves] = (1, 1)

    def channels(self, num_dims: int) -> tuple[str, ...]:
        return ("vorticity",)

    @named_call
    def tendency(self, state: Tensor, domain: Domain) -> Tensor:
        """Time derivative of the vorticity, differentiably.

        Communication
        -------------
        Collective over domain.comm: Fourier transforms of six fields, in four calls.
        """
        transform = Dealiased(domain)
        modes = transform.modes(state)
        rate = transform.field(self.advection(transform, modes) + self.decay(transform).to(state.dtype) * modes)
        return rate + self.force(domain).to(state.dtype)

    def decay(self, transform: Dealiased) -> Tensor:
        """What viscosity and drag multiply each mode with, per time: -ν |k|² - α, float64."""
        return self.viscosity * transform.laplacian - self.drag

    def advection(self, transform: Dealiased, modes: Tensor) -> Tensor:
        """Modes of -u · ∇ω for modes of ω.

        -u · ∇ω = (∂₁∂₁ - ∂₀∂₀) (u₀ u₁) + ∂₀∂₁ (u₀² - u₁²)
        """
        u = transform.field(velocity_modes(transform, modes))
        products = torch.cat([u[:, :1] * u[:, 1:], (u[:, :1] - u[:, 1:]) * (u[:, :1] + u[:, 1:])], 1)
        stresses = transform.modes(products)
        k0, k1 = (k.to(u.dtype) for k in transform.waves)
        return (k0 * k0 - k1 * k1) * stresses[:, :1] - (k0 * k1) * stresses[:, 1:]

    def force(self, domain: Domain) -> Tensor:
        """Stirring f at this rank's cells, float64, (1, 1, *local_shape)."""
        x0, x1 = domain.centres()
        (n0, n1), (extent0, extent1) = self.stirring, domain.grid.extent
        theta = 2 * math.pi * (n0 / extent0 * x0 + n1 / extent1 * x1)
        return (self.forcing * (torch.sin(theta) + torch.cos(theta)))[None, None]

    def exact(self, domain: Domain, time: float) -> Tensor:
        """One wave, which its own velocity does not change.

        Without stirring Taylor and Green's vortices sin(2π x₀ / L₀) sin(2π x₁ / L₁), which decay; with it what the stirring makes of a
        fluid at rest, f (1 - exp(-λ t)) / λ with λ = ν |k|² + α.
        """
        if self.forcing:
            rate = self._decay_of(self.stirring, domain)
            return self.force(domain) * (-math.expm1(-rate * time) / rate if rate else time)
        x0, x1 = (torch.sin(2 * math.pi / extent * x) for x, extent in zip(domain.centres(), domain.grid.extent, strict=True))
        return (math.exp(-self._decay_of((1, 1), domain) * time) * x0 * x1)[None, None]

    def initial_state(self, domain: Domain, samples: range, seed: int = 0) -> Tensor:
        """Random vortices of root mean square vorticity 5, of about a fifth of the box, with up to 10 waves along each dim."""
        return 5.0 * random_field(domain, samples, 1, ("navier_stokes", seed), lambda k: k * torch.exp(-((k / 3) ** 2)), num_waves=10)

    def stable_step(self, domain: Domain, state: Tensor | None = None) -> float:
        """Without a state, speeds up to a third of a box per time are assumed along each dim.

        Communication
        -------------
        With a state, a Fourier transform and an all-reduce over all ranks.
        """
        if state is None:
            speeds = [extent / 3 for extent in domain.grid.extent]
        else:
            transform = Dealiased(domain)
            u = transform.field(velocity_modes(transform, transform.modes(state.detach())))
            speeds = largest(u, domain)
        rate = sum(c / dx for c, dx in zip(speeds, domain.grid.spacing, strict=True))
        return 1.0 / rate if rate else math.inf

    def _decay_of(self, waves: tuple[int, int], domain: Domain) -> float:
        squares = ((2 * math.pi * n / extent) ** 2 for n, extent in zip(waves, domain.grid.extent, strict=True))
        return self.viscosity * sum(squares) + self.drag


def velocity_modes(transform: Dealiased, modes: Tensor) -> Tensor:
    """Modes of the velocity (batch, 2, *local) for modes of the vorticity (batch, 1, *local)."""
    k0, k1 = transform.waves
    inverse = torch.where(transform.laplacian == 0, 0.0, 1 / transform.laplacian)  # the mean vorticity moves nothing
    factors = torch.stack([-1j * k1 * inverse, 1j * k0 * inverse])
    return factors.to(modes.dtype) * modes
