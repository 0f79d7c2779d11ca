"""Viscous Burgers equation in 1 or 2 dims.

    uₜ + (u · ∇) u = ν Δu

Crests overtake troughs: the velocity steepens into fronts of width about ν / |u| after the time 1 / max|∇u|, which then merge and decay.

Good values: 256 cells of a unit box, viscosity 0.01 (fronts of several cells), root mean square 0.5, step `Burgers.stable_step` (about
4e-4), snapshots every 0.05.
"""

import logging
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hpcml.core.config import Positive
from hpcml.equations.equation import Equation
from hpcml.equations.largest import largest
from hpcml.equations.padded import Padded
from hpcml.equations.product import product
from hpcml.equations.random_field import random_field
from hpcml.fields.domain import Domain
from hpcml.fields.grid import Grid
from hpcml.mpi.call import named_call

_log = logging.getLogger(__name__)
_told: set[tuple[float, Grid]] = set()
"""Viscosities and grids of which it was said that they do not go together."""


@dataclass(frozen=True)
class Burgers(Equation):
    """uₜ + (u · ∇) u = ν Δu, periodic, one velocity component per dim.

    Parameters
    ----------
    viscosity : float
        ν > 0, length² per time.

    Notes
    -----
    Third order in space, damped against the stream; two ghost cells. In the form

        (u · ∇) u = ∇ |u|² / 2  -  u × ω,      ω = ∂₀u₁ - ∂₁u₀

    of which the first part is a difference of fluxes and the second, none in 1 dim, vanishes where fronts are plane. So fronts move at
    their right speed, the mean of u on both sides, and in 1 dim the mean velocity is kept to round-off, whether or not the grid resolves
    the front. One that it does not resolve, ν below max|u| dx / 2, rings by up to a tenth of its height, and `stable_step` warns of it.

    References
    ----------
    J. D. Cole, Quarterly of Applied Mathematics 9, 225 (1951); E. Hopf, Communications on Pure and Applied Mathematics 3, 201 (1950).

    Examples
    --------
    >>> Burgers(viscosity=0.01).channels(2)
    ('velocity_0', 'velocity_1')
    """

    num_dims: ClassVar[tuple[int, ...]] = (1, 2)

    viscosity: Positive = 0.01

    def channels(self, num_dims: int) -> tuple[str, ...]:
        return ("velocity",) if num_dims == 1 else tuple(f"velocity_{d}" for d in range(num_dims))

    @named_call
    def tendency(self, state: Tensor, domain: Domain) -> Tensor:
        padded = Padded.of(state, domain, 2)
        rates = list((self.viscosity * padded.laplacian_4()).unbind(1))
        for dim, dx in enumerate(domain.grid.spacing):
            axis, line = dim - domain.num_dims, padded.line(dim)
            damping, energy = _damping(line, dim), _mean_at_faces(0.5 * line.square().sum(1), axis)
            for component, rate in enumerate(rates):
                flux = energy + damping[:, component] if component == dim else damping[:, component]
                rates[component] = rate - flux.diff(dim=axis) / dx
        if domain.num_dims == 2:
            vorticity = padded.derivative_4(0)[:, 1] - padded.derivative_4(1)[:, 0]
            rates = [rates[0] + state[:, 1] * vorticity, rates[1] - state[:, 0] * vorticity]
        return torch.stack(rates, 1)

    def exact(self, domain: Domain, time: float) -> Tensor:
        """Cole and Hopf's: u = -2ν ∇φ / φ, with φ = 1 + exp(-ν k² t) / 2 Π cos(2π x / L) a solution of the heat equation."""
        wavenumbers = [2 * math.pi / extent for extent in domain.grid.extent]
        amplitude = 0.5 * math.exp(-self.viscosity * sum(k * k for k in wavenumbers) * time)
        angles = [k * x for k, x in zip(wavenumbers, domain.centres(), strict=True)]
        phi = 1 + amplitude * product([torch.cos(a) for a in angles])
        components = []
        for dim, k in enumerate(wavenumbers):
            slope = -k * amplitude * product([torch.sin(a) if d == dim else torch.cos(a) for d, a in enumerate(angles)])
            components.append(-2 * self.viscosity * slope / phi)
        return torch.stack(components)[None]

    def initial_state(self, domain: Domain, samples: range, seed: int = 0) -> Tensor:
        """Smooth velocities of root mean square 0.5 with up to 4 waves along each dim."""
        return 0.5 * random_field(domain, samples, domain.num_dims, ("burgers", seed), lambda k: torch.exp(-((k / 2) ** 2)), num_waves=4)

    def stable_step(self, domain: Domain, state: Tensor | None = None) -> float:
        """Without a state, speeds up to 2 are assumed; one whose fronts the grid cannot resolve is told once, by rank 0."""
        spacing = domain.grid.spacing
        speeds = [2.0] * len(spacing) if state is None else largest(state, domain)
        if state is not None and domain.world_comm.rank == 0:
            self._warn(domain.grid, speeds)
        rate = sum(c / dx for c, dx in zip(speeds, spacing, strict=True)) + 8 / 3 * self.viscosity * sum(dx**-2 for dx in spacing)
        return 1.0 / rate if rate else math.inf

    def _warn(self, grid: Grid, speeds: list[float]) -> None:
        thin = [c * dx > 2 * self.viscosity for c, dx in zip(speeds, grid.spacing, strict=True)]
        if not any(thin) or not all(map(math.isfinite, speeds)) or (self.viscosity, grid) in _told:
            return
        _told.add((self.viscosity, grid))
        cells = [math.ceil(c * length / (2 * self.viscosity)) for c, length in zip(speeds, grid.extent, strict=True)]
        needed = tuple(max(n, there) for n, there in zip(cells, grid.shape, strict=True))
        _log.warning(
            "Burgers: %s cells do not resolve fronts of viscosity %.3g and speeds up to %.3g, which ring by up to a tenth of their height: "
            "take %s cells, or more viscosity",
            grid.shape,
            self.viscosity,
            max(speeds),
            needed,
        )


def _mean_at_faces(line: Tensor, axis: int) -> Tensor:
    """Flux through the n + 1 faces of a line of n + 4 cells, whose difference over dx is the derivative to O(dx⁴)."""
    a, b, c, d = (line.narrow(axis, k, line.shape[axis] - 3) for k in range(4))
    return (7 * (b + c) - a - d) / 12


def _damping(line: Tensor, dim: int) -> Tensor:
    """Flux that takes out what the grid cannot carry, |u| dx³ uₓₓₓ / 12 at the faces, with the faster of both sides."""
    axis = dim - line.dim() + 2
    a, b, c, d = (line.narrow(axis, k, line.shape[axis] - 3) for k in range(4))
    speed = torch.maximum(b[:, dim : dim + 1].abs(), c[:, dim : dim + 1].abs())
    return speed * (d - a - 3 * (c - b)) / 12
