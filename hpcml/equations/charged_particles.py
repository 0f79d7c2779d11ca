"""Charged particles in a periodic box, 3 dims.

x_i'' = q_i E(x_i),      E = -grad phi,      -Laplacian phi = 4 pi (sum of the charges q_j, each a Gaussian, less their mean)

The force between two particles is that of Coulomb where they are further apart than some softenings, and goes to 0 where they meet. All
images of the box count, by Ewald's sum; as the charges are smooth it has waves alone.

Good values: the defaults, snapshots every 0.25. Opposite charges pair and part again; what is far away matters, for it decays as 1 / r^2.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from hpcml.core.config import Count, NonNegative, Positive
from hpcml.core.errors import ConfigError
from hpcml.equations.particles import Particles, lattice
from hpcml.graphs.graph import Graph
from hpcml.mpi.seeds import normal, permutation, uniform
from hpcml.parallel.collectives import all_reduce
from hpcml.parallel.sum_points import sum_points

NEGLECTED = 1e-7
"""How much weaker than without its Gaussian the first wave is that is left out."""
MOST_ALONG = 128
"""Waves along an axis of the box: together they are 4 MOST_ALONG^3, of which each sample keeps a complex number."""
MOST_SIDE = 200
"""One rank makes the places."""


@dataclass(frozen=True)
class ChargedParticles(Particles):
    """Particles of mass 1, half of them with a positive and half with a negative charge.

    Parameters
    ----------
    side : int
        There are side^3 particles.
    spacing : float
        Between the places from which they start: the box is side spacings long.
    charge : float
        Of the particles, with either sign.
    softening : float
        Width sigma of the Gaussians exp(-r^2 / (2 sigma^2)) that the charges are.
    temperature : float
        Mean square of a component of the first velocities.
    disorder : float
        Up to how many spacings apart from its place, along each axis and from one side to the other, a particle starts.

    References
    ----------
    P. P. Ewald, Annalen der Physik 369, 253 (1921).

    Examples
    --------
    >>> ChargedParticles(side=4).box
    4.0
    """

    num_dims: ClassVar[tuple[int, ...]] = (3,)
    given: ClassVar[tuple[str, ...]] = ("charge",)

    side: Count = 4
    spacing: Positive = 1.0
    charge: Positive = 1.0
    softening: Positive = 0.3
    temperature: NonNegative = 1.0
    disorder: NonNegative = 0.8

    def __post_init__(self) -> None:
        """See that the Gaussians fit into the box, and that there are not too many particles and waves."""
        if self.side > MOST_SIDE:
            raise ConfigError(f"equation.side = {self.side} makes {self.side**3} particles: expected {MOST_SIDE} at most")
        if self.softening > self.box / 4:
            raise ConfigError(f"equation.softening = {self.softening} is more than a quarter of the box of {self.box}: lower it")
        if self._along > MOST_ALONG:
            raise ConfigError(
                f"equation.softening = {self.softening} takes more than {MOST_ALONG} waves along the box of {self.box}: take "
                f"{self.box / 200:g} or more"
            )

    @property
    def box(self) -> float:
        """Length of the periodic box along each axis."""
        return self.side * self.spacing

    @property
    def _along(self) -> float:
        """Waves along an axis, of which none is shorter than those that the Gaussians leave."""
        return math.sqrt(-math.log(NEGLECTED)) / self.softening * self.box / (2 * math.pi)

    def places(self) -> np.ndarray:
        return lattice((self.side,) * 3, self.spacing)

    def initial_state(self, domain: Graph, samples: range, seed: int = 0) -> Tensor:
        """Particles near their places, with random charges that sum to 0 or 1 and random velocities that sum to 0; one all-reduce."""
        places, own = torch.from_numpy(self.places()), domain.nodes.cpu()
        count = len(places)
        index = torch.arange(3 * count).view(count, 3)
        states = []
        for sample in samples:
            moved = (uniform(seed, ("places", sample), index, torch.float64) - 0.5) * (self.disorder * self.spacing)
            velocity = normal(seed, ("velocities", sample), index, torch.float64) * self.temperature**0.5
            sign = torch.where(permutation(seed, ("charges", sample), count) < (count + 1) // 2, self.charge, -self.charge).double()
            states.append(torch.cat([places + moved, velocity - velocity.mean(0), sign[:, None]], -1)[own])
        position, velocity, given = torch.stack(states).to(domain.device).split([3, 3, 1], -1)
        return self.begun(position, velocity, given, domain)

    def acceleration(self, position: Tensor, velocity: Tensor, given: Tensor, graph: Graph) -> Tensor:
        """The field at this rank's particles, times their charges.

        Communication
        -------------
        One all-reduce over graph.comm of two numbers for each wave and sample, whatever the number of particles.
        """
        numbers, weights = self._waves(position)
        x, y, z = waves = self._phases(position, numbers)
        seen = weights * self._structure(waves, given, graph).conj()
        planes = (x.unsqueeze(-1) * y.unsqueeze(-2)).flatten(-2)
        pulls = []
        for d in range(3):
            k = (2 * math.pi / self.box) * numbers[d].view([-1 if axis == d else 1 for axis in range(3)])
            pulls.append((planes * (z @ (k * seen).flatten(-3, -2).mT)).sum(-1).imag)
        return 4 * math.pi / self.box**3 * given * torch.stack(pulls, -1)

    def energy(self, state: Tensor, graph: Graph) -> Tensor:
        """Kinetic energy and that of the field, less that of each charge alone, (batch,), which no motion changes.

        Communication
        -------------
        As `acceleration`, and an all-reduce of one number for each sample.
        """
        position, velocity, _, given = self.parts(state)
        numbers, weights = self._waves(position)
        field = (weights * self._structure(self._phases(position, numbers), given, graph).abs().square()).sum((-3, -2, -1)) * (
            2 * math.pi / self.box**3
        )
        alone = given.square().sum((-2, -1)) / (2 * math.pi**0.5 * self.softening)
        own = velocity.square().sum((-2, -1)) / 2 - alone
        return field + sum_points(graph, graph.comm, lambda _: [own], position)[0]

    def stable_step(self, domain: Graph, state: Tensor | None = None) -> float:
        """A quarter of the limit, 2 over the frequency, where a charge swings in the middle of four others."""
        return 0.5 / math.sqrt(4 * self.charge**2 / (6 * math.pi**0.5 * self.softening**3))

    def _waves(self, like: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Numbers of waves along each axis, and exp(-(sigma k)^2) / k^2 of all, twice where the opposite one is not among them."""
        most = math.ceil(self._along)
        whole = torch.arange(-most, most + 1, dtype=like.dtype, device=like.device)
        numbers = (whole[most:], whole, whole)
        squares = sum(n.view([-1 if axis == d else 1 for axis in range(3)]) ** 2 for d, n in enumerate(numbers))
        squares = (2 * math.pi / self.box) ** 2 * torch.as_tensor(squares)
        weights = torch.where(squares > 0, torch.exp(-(self.softening**2) * squares) / squares.clamp(min=1e-300), 0.0)
        return numbers, weights * (1 + (numbers[0] > 0).to(like.dtype)).view(-1, 1, 1)

    def _phases(self, position: Tensor, numbers: tuple[Tensor, ...]) -> list[Tensor]:
        """exp(i k r_d) along each axis, (batch, particle, wave)."""
        return [torch.exp(2j * math.pi / self.box * position[..., d : d + 1] * of) for d, of in enumerate(numbers)]

    def _structure(self, waves: list[Tensor], charge: Tensor, graph: Graph) -> Tensor:
        """Sum over all particles of q exp(i k r), (batch, wave along x, along y, along z)."""
        x, y, z = waves
        planes = ((charge * x).unsqueeze(-1) * y.unsqueeze(-2)).flatten(-2)
        total = all_reduce(graph.comm, torch.view_as_real(planes.mT @ z))
        return torch.view_as_complex(total).unflatten(-2, (x.shape[-1], y.shape[-1]))
