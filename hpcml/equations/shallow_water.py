"""Shallow water in 1 or 2 dims, a layer of depth h over a flat bed.

    hₜ     + ∇·(h u)                  = 0
    (hu)ₜ  + ∇·(h u ⊗ u) + g h ∇h     = f (hv, -hu)

Bumps of the surface run away as gravity waves of speed √(g h), steepen, and break into bores; rotation f turns them into vortices
around which the pressure and the Coriolis force balance. Mass is kept to round-off.

Good values: 128² cells of a unit box, gravity 9.81, depth 1, bumps of a tenth of it, step `ShallowWater.stable_step` (3e-4), snapshots
every 0.02; coriolis 10 makes the radius of deformation √(g h) / f a third of the box.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hpcml.core.config import Positive, Real
from hpcml.core.errors import ConfigError
from hpcml.equations.equation import Equation
from hpcml.equations.largest import largest
from hpcml.equations.padded import Padded
from hpcml.equations.random_field import random_field
from hpcml.fields.domain import Domain
from hpcml.mpi.call import named_call

STEEPEST = 0.05
"""Relative amplitude of the exact wave's speed."""


@dataclass(frozen=True)
class ShallowWater(Equation):
    """Conservation of mass and momentum of a shallow layer, periodic.

    Parameters
    ----------
    gravity : float
        g, length per time².
    depth : float
        Depth of the layer at rest, length.
    coriolis : float
        f, twice the rate of rotation, per time; in 2 dims.

    Notes
    -----
    Finite volumes: van Leer's limited slopes of depth and velocity and the flux of Rusanov, two ghost cells; second order where the flow
    is smooth, first at bores. A step of Euler's method no longer than `stable_step` leaves every positive depth positive, and so do the
    stages of `hpcml.solvers.SSP_RK3`: layers may be as thin as floating point allows. A bed that is dry, of depth zero, has no velocity and
    ends in NaN, which the solvers report.

    References
    ----------
    B. van Leer, Journal of Computational Physics 14, 361 (1974); E. F. Toro, Shock-Capturing Methods for Free-Surface Shallow Flows,
    Wiley, 2001; B. Perthame and C.-W. Shu, Numerische Mathematik 73, 119 (1996), for the positive depth.

    Examples
    --------
    >>> ShallowWater().channels(2)
    ('depth', 'momentum_0', 'momentum_1')
    """

    num_dims: ClassVar[tuple[int, ...]] = (1, 2)
    solver: ClassVar[str] = "ssp_rk3"

    gravity: Positive = 9.81
    depth: Positive = 1.0
    coriolis: Real = 0.0

    def check(self, domain: Domain) -> None:
        super().check(domain)
        if self.coriolis and domain.num_dims != 2:
            raise ConfigError(f"rotation needs 2 dims, got coriolis = {self.coriolis} on a grid of shape {domain.global_shape}")

    def channels(self, num_dims: int) -> tuple[str, ...]:
        return ("depth", *(f"momentum_{d}" for d in range(num_dims)))

    @named_call
    def tendency(self, state: Tensor, domain: Domain) -> Tensor:
        padded = Padded.of(torch.cat([state[:, :1], state[:, 1:] / state[:, :1]], 1), domain, 2)
        rate = torch.zeros_like(state)
        for dim, dx in enumerate(domain.grid.spacing):
            left, right = _face_states(padded.line(dim), dim - domain.num_dims)
            rate = rate - self._flux(left, right, dim).diff(dim=dim - domain.num_dims) / dx
        if self.coriolis:
            turned = torch.stack([torch.zeros_like(state[:, 0]), state[:, 2], -state[:, 1]], 1)
            rate = rate + self.coriolis * turned
        return rate

    def exact(self, domain: Domain, time: float) -> Tensor:
        """Simple wave along dim 0, which starts as c = √(g h) = c₀ (1 + 0.05 sin(2π x / L)).

            c is constant along dx/dt = 3 c - 2 c₀,      u = 2 (c - c₀)

        Raises
        ------
        ConfigError
            With rotation, or after the wave has broken.
        """
        rest, k = math.sqrt(self.gravity * self.depth), 2 * math.pi / domain.grid.extent[0]
        breaks = 1 / (3 * rest * STEEPEST * k)
        if self.coriolis or time >= breaks:
            raise ConfigError(f"the exact wave holds without rotation until it breaks at time {breaks:g}, got time {time:g} for {self}")
        x = domain.centres()[0]
        start = x - rest * time
        for _ in range(50):  # Newton's method for where the wave at x set out; it converges from here in a handful of steps
            ahead = start + rest * (1 + 3 * STEEPEST * torch.sin(k * start)) * time - x
            start = start - ahead / (1 + 3 * rest * STEEPEST * k * torch.cos(k * start) * time)
        speed = rest * (1 + STEEPEST * torch.sin(k * start))
        depth = speed**2 / self.gravity
        momenta = [depth * 2 * (speed - rest), *(torch.zeros_like(depth) for _ in range(domain.num_dims - 1))]
        return torch.stack([depth, *momenta]).expand(-1, *domain.local_shape)[None].contiguous()

    def initial_state(self, domain: Domain, samples: range, seed: int = 0) -> Tensor:
        """Water at rest whose surface has bumps of a tenth of the depth, root mean square, with up to 4 waves along each dim."""
        bumps = random_field(domain, samples, 1, ("shallow_water", seed), lambda k: torch.exp(-((k / 2) ** 2)), num_waves=4)
        depth = self.depth * (1 + 0.1 * bumps)
        return torch.cat([depth, *(torch.zeros_like(depth) for _ in range(domain.num_dims))], 1)

    def stable_step(self, domain: Domain, state: Tensor | None = None) -> float:
        """Without a state, depths up to one and a half times that at rest and speeds up to half that of waves are assumed."""
        spacing = domain.grid.spacing
        if state is None:
            speeds = [1.5 * math.sqrt(1.5 * self.gravity * self.depth)] * len(spacing)
        else:
            u = state.detach()
            parts = [self.gravity * u[:, :1], u[:, 1:] / u[:, :1]]  # a face may take its depth from one side, its speed from the other
            wave, *flow = largest(torch.cat(parts, 1), domain)
            speeds = [math.sqrt(wave) + speed for speed in flow]
        rate = sum(c / dx for c, dx in zip(speeds, spacing, strict=True))
        turn = abs(self.coriolis)  # beside waves, which take their share of the 1.73 that the method is stable to along the imaginary axis
        return min(0.5 / rate if rate else math.inf, 1 / turn if turn else math.inf)

    def _flux(self, left: Tensor, right: Tensor, dim: int) -> Tensor:
        """Mean of both sides' fluxes, less the jump times half the fastest speed; sides are (depth, velocities)."""
        speeds = [side[:, dim + 1 : dim + 2].abs() + torch.sqrt(self.gravity * side[:, :1]) for side in (left, right)]
        (kept_left, flux_left), (kept_right, flux_right) = self._kept_and_flux(left, dim), self._kept_and_flux(right, dim)
        return 0.5 * (flux_left + flux_right - torch.maximum(*speeds) * (kept_right - kept_left))

    def _kept_and_flux(self, side: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        """Mass and momentum, and what of them flows along ``dim``."""
        depth, velocities = side[:, :1], side[:, 1:]
        along = velocities[:, dim : dim + 1]
        kept = torch.cat([depth, depth * velocities], 1)
        pressure = torch.zeros_like(kept)
        pressure[:, dim + 1] = 0.5 * self.gravity * depth[:, 0] ** 2
        return kept, kept * along + pressure


def _face_states(line: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Depth and velocities on both sides of the n + 1 faces of a line of n + 4 cells, between those of the cells."""
    steps = line.diff(dim=axis)
    count = steps.shape[axis]
    before, after = steps.narrow(axis, 0, count - 1), steps.narrow(axis, 1, count - 1)
    # Van Leer's harmonic mean of the steps where they agree, none at an extremum; the small number makes 0 / 0, and its derivative, zero.
    slope = (before * after.abs() + before.abs() * after) / (before.abs() + after.abs() + torch.finfo(line.dtype).eps ** 2)
    cells = line.narrow(axis, 1, count - 1)
    left = (cells + 0.5 * slope).narrow(axis, 0, count - 2)
    right = (cells - 0.5 * slope).narrow(axis, 1, count - 2)
    return left, right
