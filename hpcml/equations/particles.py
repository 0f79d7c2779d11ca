"""Particles that move: what all systems of them have in common.

x_t = v,      v_t = a(x, v)
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from hpcml.core.errors import ConfigError
from hpcml.equations.equation import Equation
from hpcml.graphs.graph import Graph
from hpcml.graphs.mesh import Mesh


class Particles(Equation):
    """Particles of mass 1, whose state is where they are, how fast, and what accelerates them: (batch, particle, channel).

    A subclass gives its `places`, its `acceleration` and how it begins. Positions are not moved back into a periodic box, so that they are
    continuous in time. The acceleration is a channel, so that a step computes it once, and a network can learn it from one state.
    """

    on_mesh: ClassVar[bool] = True
    moves: ClassVar[bool] = True
    solver: ClassVar[str] = "verlet"
    constrained: ClassVar[bool] = True  # the acceleration has no rate

    @abstractmethod
    def places(self) -> np.ndarray:
        """Where particles lie before chance moves them, (particle, dim), which decides the ranks that they are dealt to."""

    @abstractmethod
    def acceleration(self, position: Tensor, velocity: Tensor, given: Tensor, graph: Graph) -> Tensor:
        """What accelerates this rank's particles, (batch, particle, dim), of their positions, velocities and given channels.

        Communication
        -------------
        As the subclass says.
        """

    def mesh(self) -> Mesh:
        return Mesh(self.places(), {})

    def check(self, domain: Any) -> None:
        """Refuse whatever holds other particles."""
        count = len(self.places())
        if not isinstance(domain, Graph) or (domain.num_points_global, domain.positions.shape[1]) != (count, self.num_dims[0]):
            raise ConfigError(f"{type(self).__name__} has {count} particles in {self.num_dims[0]} dims, not {domain}: deal its places()")

    def channels(self, num_dims: int = 0) -> tuple[str, ...]:
        moving = ("position", "velocity", "acceleration")
        return (*(f"{name}_{d}" for name in moving for d in range(self.num_dims[0])), *self.given)

    def parts(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Position, velocity, acceleration and what is given, of a state."""
        position, velocity, acceleration = state[..., : 3 * self.num_dims[0]].chunk(3, -1)
        return position, velocity, acceleration, state[..., 3 * self.num_dims[0] :]

    def begun(self, position: Tensor, velocity: Tensor, given: Tensor, graph: Graph) -> Tensor:
        """The state of particles of which this is known."""
        return torch.cat([position, velocity, self.acceleration(position, velocity, given, graph), given], -1)

    def tendency(self, state: Tensor, domain: Graph) -> Tensor:
        """Rate of change of positions and velocities; 0 for the acceleration, which follows from them."""
        position, velocity, acceleration, given = self.parts(state)
        rate = self.acceleration(position, velocity, given, domain)
        return torch.cat([velocity, rate, torch.zeros_like(acceleration), torch.zeros_like(given)], -1)


def lattice(counts: Sequence[int], spacing: float) -> np.ndarray:
    """Middles of the cells of a box, so many along each axis, (particle, dim)."""
    along = [(np.arange(count) + 0.5) * spacing for count in counts]
    return np.stack(np.meshgrid(*along, indexing="ij"), -1).reshape(-1, len(counts))
