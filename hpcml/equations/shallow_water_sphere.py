"""Shallow water on a rotating sphere, on the triangles of an icosphere.

    h_t = -div(h u),      u_t = -(zeta + 2 Omega z) k x u - grad(g h + |u|^2 / 2)

with the upward direction k, the vorticity zeta = k . curl u and the sine of latitude z. Each trajectory is a jet at middle latitudes that
pressure balances, with bumps of the water that depend on the sample: waves grow on it and roll up into vortices within days.

Good values: the defaults, those of the Earth, in metres and seconds; snapshots every 3600 to 21600. ``levels = 5`` has a node every 240 km,
``levels = 4`` shows the waves but few of the vortices.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from hpcml.core.config import Count, CountOrZero, NonNegative, Positive, Real
from hpcml.core.errors import ConfigError
from hpcml.equations.balanced_jet import HALF_WIDTH, at_latitudes, balanced_jet, jet
from hpcml.equations.equation import Equation
from hpcml.graphs.mesh import Mesh
from hpcml.graphs.mesh_shapes import icosphere
from hpcml.graphs.triangles import Triangles
from hpcml.mpi.call import named_call
from hpcml.mpi.reductions import all_max
from hpcml.mpi.seeds import uniform

MOST_LEVELS = 9
"""One rank makes the mesh."""
DAYS_AROUND = 12
"""Days of 86400 time units in which the water of the exact solution goes once around."""


@dataclass(frozen=True)
class ShallowWaterSphere(Equation):
    """Rise of the water and its velocity, three components along the axes of space, on the unit sphere as a map of the planet.

    The channel ``surface`` is the rise above the mean depth times sqrt(g / depth), a speed as the others: the squares of all channels add
    up to twice the energy of small waves per mass, so that losses and errors weigh rise and velocity as nature does.

    Parameters
    ----------
    gravity : float
        g, length per time^2.
    depth : float
        Mean depth, length.
    rotation : float
        Omega, angle per time, about the third axis.
    radius : float
        Of the planet, length.
    speeds : (float, float)
        Least and largest speed in the middle of the jet: each trajectory has one of its own between them.
    latitudes : (float, float)
        The same for the middle of the jet, degrees.
    bumps : int
        At the jet, each with a longitude and a height of its own.
    bump : float
        Largest height of one, above or below, length.
    damping : float
        Of the shortest waves of the mesh: a Laplacian of the Laplacian, times this, the speed of waves and the cube of the mesh's spacing.
    levels : int
        Of the icosphere, which has 10 4^levels + 2 nodes.

    Notes
    -----
    Linear finite elements, lumped to the nodes. Without damping they keep mass and energy to round-off, and with it mass: gradient and
    divergence are each other's adjoint, and the Coriolis force does no work. Of second order in space.

    References
    ----------
    D. L. Williamson and others, Journal of Computational Physics 102, 211 (1992), for the equation in this form and the exact solution;
    J. Galewsky, R. K. Scott and L. M. Polvani, Tellus A 56, 429 (2004), for the jet and its bump.

    Examples
    --------
    >>> ShallowWaterSphere(levels=2).mesh().num_cells
    320
    """

    num_dims: ClassVar[tuple[int, ...]] = (3,)
    on_mesh: ClassVar[bool] = True

    gravity: Positive = 9.80616
    depth: Positive = 1e4
    rotation: Real = 7.292e-5
    radius: Positive = 6.37122e6
    speeds: tuple[Positive, Positive] = (60.0, 80.0)
    latitudes: tuple[Real, Real] = (40.0, 50.0)
    bumps: Count = 3
    bump: NonNegative = 120.0
    damping: NonNegative = 0.002
    levels: CountOrZero = 5

    def __post_init__(self) -> None:
        """See that ranges are in order, that the jet ends before the poles, and that there is water everywhere."""
        for name in ("speeds", "latitudes"):
            low, high = getattr(self, name)
            if low > high:
                raise ConfigError(f"equation.{name} are the least and the largest, got {[low, high]}: turn them round")
        if self.levels > MOST_LEVELS:
            raise ConfigError(f"equation.levels = {self.levels} make {10 * 4**self.levels + 2} nodes: expected {MOST_LEVELS} at most")
        most = 90 - math.degrees(HALF_WIDTH)
        if max(map(abs, self.latitudes)) > most:
            raise ConfigError(f"equation.latitudes lie between {-most:.1f} and {most:.1f} degrees, got {list(self.latitudes)}")
        least = min(self._profile(self.speeds[1], math.radians(latitude)).min() for latitude in self.latitudes)
        if least <= self.bumps * self.bump:
            needed = self.depth - least + self.bumps * self.bump
            raise ConfigError(f"equation.depth = {self.depth:g} leaves dry land beside the jet and its bumps: take more than {needed:.4g}")

    def mesh(self) -> Mesh:
        return icosphere(self.levels)

    def check(self, domain: Any) -> None:
        """Refuse whatever is no mesh of triangles in space."""
        if not isinstance(domain, Triangles) or domain.positions.shape[1] != 3:
            raise ConfigError(f"{type(self).__name__} lives on triangles around the unit sphere, not on {domain}: make them of its mesh()")

    def channels(self, num_dims: int = 3) -> tuple[str, ...]:
        return ("surface", "velocity_0", "velocity_1", "velocity_2")

    def depth_of(self, state: Tensor) -> Tensor:
        """Depth of the water of a state, (batch, node, 1), length.

        Communication
        -------------
        Local.
        """
        return self.depth + state[..., :1] / self._per_length

    @named_call
    def tendency(self, state: Tensor, domain: Triangles) -> Tensor:
        """Rate of change of surface and velocity.

        Communication
        -------------
        Neighbors, two exchanges, or one without damping.
        """
        mass, up = domain.mass.to(state.dtype), _up(domain).to(state.dtype)
        divergence, slope, curl, laplacian = self._derivatives(state, domain)
        absolute = (up * curl).sum(-1, keepdim=True) / self.radius + 2 * self.rotation * up[:, 2:]
        velocity = state[..., 1:]
        push = -slope / self.radius - absolute * torch.linalg.cross(up.expand_as(velocity), velocity)
        rate = torch.cat([-self._per_length * divergence / self.radius, push], -1)
        if self.damping:
            rate = rate + self._diffusivity(domain) * domain.stiff(laplacian) / mass
        along = rate[..., 1:]
        return torch.cat([rate[..., :1], along - up * (up * along).sum(-1, keepdim=True)], -1)

    def _derivatives(self, state: Tensor, domain: Triangles) -> tuple[Tensor, ...]:
        """On the unit sphere: div(h u), grad(g h + u^2 / 2), curl u, and the Laplacian of the state."""
        at_corners = domain.at_corners(state)
        depth, velocity = self.depth_of(at_corners), at_corners[..., 1:]
        head = self.gravity * depth + 0.5 * velocity.square().sum(-1, keepdim=True)
        gradient = domain.gradient(torch.cat([head, at_corners], -1))  # (batch, triangle, dim, channel)
        turned = gradient[..., 2:] - gradient[..., 2:].mT
        curl = torch.stack([turned[..., 1, 2], turned[..., 2, 0], turned[..., 0, 1]], -1)
        slopes, sizes = domain.slopes.to(state.dtype), domain.sizes.to(state.dtype)[:, None, None]
        inflow = slopes @ (depth * velocity).mean(-2, keepdim=True).mT
        bent = slopes @ gradient[..., 1:]
        third = torch.cat([gradient[..., 0], curl], -1).unsqueeze(-2).expand(*bent.shape[:-1], 6) / 3
        summed = domain.at_nodes(sizes * torch.cat([-inflow, third, -bent], -1)) / domain.mass.to(state.dtype)
        return summed.split([1, 3, 3, 4], -1)

    def _diffusivity(self, domain: Triangles) -> float:
        """Of the Laplacian of the Laplacian, on the unit sphere: the spacing is that of as many triangles of equal sides."""
        spacing = math.sqrt(8 * math.pi / math.sqrt(3) / domain.num_points_global)
        return self.damping * math.sqrt(self.gravity * self.depth) * spacing**3 / self.radius

    def exact(self, domain: Triangles, time: float) -> Tensor:
        """Water that turns with the planet and a little faster, once around in twelve days, which pressure balances: it does not change.

        The second case of Williamson and others; theirs has a mean depth of 2363.
        """
        up = _up(domain)
        speed = 2 * math.pi * self.radius / (DAYS_AROUND * 86400)
        drop = (self.radius * self.rotation * speed + speed**2 / 2) / self.gravity
        return torch.cat([self._per_length * drop * (1 / 3 - up[:, 2:] ** 2), speed * _eastwards(up)], -1)[None]

    def initial_state(self, domain: Triangles, samples: range, seed: int = 0) -> Tensor:
        """The jet of each sample with its bumps: its speed and latitude, and the longitude and height of each bump."""
        count = 2 + 2 * self.bumps
        chances = uniform(seed, "shallow_water_sphere", torch.arange(count * samples.start, count * samples.stop), torch.float64)
        up = _up(domain).cpu()
        latitudes, longitudes = torch.asin(up[:, 2].clamp(-1, 1)).numpy(), torch.atan2(up[:, 1], up[:, 0]).numpy()
        states = [torch.zeros(0, len(up), 4, dtype=torch.float64)]
        for speed, middle, *places in chances.view(-1, count).tolist():
            speed = self.speeds[0] + (self.speeds[1] - self.speeds[0]) * speed
            middle = math.radians(self.latitudes[0] + (self.latitudes[1] - self.latitudes[0]) * middle)
            depth = at_latitudes(self._profile(speed, middle), latitudes)
            across = np.cos(latitudes) * np.exp(-((15 * (latitudes - middle)) ** 2))
            for longitude, height in zip(places[::2], places[1::2], strict=True):
                away = (longitudes - 2 * math.pi * longitude) % (2 * math.pi)
                depth = depth + self.bump * (2 * height - 1) * across * np.exp(-((3 * np.minimum(away, 2 * math.pi - away)) ** 2))
            flow = torch.from_numpy(jet(latitudes, speed, middle) / np.maximum(np.cos(latitudes), 1e-9))
            surface = self._per_length * torch.from_numpy(depth - self.depth)
            states.append(torch.cat([surface[:, None], flow[:, None] * _eastwards(up)], -1)[None])
        return torch.cat(states).to(domain.device)

    def stable_step(self, domain: Triangles, state: Tensor | None = None) -> float:
        """Without a state, for the mean depth and the largest speed of the jet."""
        slope = domain.slopes.norm(dim=-1).amax(-1)
        if state is None:
            speed = torch.full_like(slope, math.sqrt(self.gravity * self.depth) + self.speeds[1])
        else:
            at_corners = domain.at_corners(state.detach()).to(slope.dtype)
            waves = (self.gravity * self.depth_of(at_corners)[..., 0]).sqrt()
            speed = (waves + at_corners[..., 1:].norm(dim=-1)).amax(-1)
        # A triangle with slopes G has no eigenvalue of stiffness over lumped mass above 3 |G G^T|, see `IncompressibleFlow`. The method of
        # third order is stable to 1.73 along the imaginary axis, which leaves the solvers their quarter.
        stiffest = 3 * torch.linalg.matrix_norm(domain.slopes, 2) ** 2
        rate = 1.02 * speed * slope / self.radius + self._diffusivity(domain) * stiffest**2
        longest = 1.35 / float(all_max(rate.amax() if rate.numel() else torch.zeros(()).to(rate), domain.world_comm))
        turn = 2 * abs(self.rotation)  # added to the waves in the square
        return min(longest, 1 / turn) if turn else longest

    @property
    def _per_length(self) -> float:
        """Surface that a rise of one length is."""
        return math.sqrt(self.gravity / self.depth)

    def _profile(self, speed: float, latitude: float) -> np.ndarray:
        return balanced_jet(speed, latitude, self.radius, self.rotation, self.gravity, self.depth)


def _up(domain: Triangles) -> Tensor:
    """Upward direction at each node, (node, 3)."""
    return domain.positions / domain.positions.norm(dim=-1, keepdim=True)


def _eastwards(up: Tensor) -> Tensor:
    """Velocity of a turn about the third axis at a speed of 1 at the equator, (node, 3)."""
    return torch.stack([-up[:, 1], up[:, 0], torch.zeros_like(up[:, 0])], -1)
