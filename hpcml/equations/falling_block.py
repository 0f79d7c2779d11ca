"""A block of grains that falls onto a floor between two walls, 2 dims.

x_i'' = -g e_y + sum over j in touch of (k o_ij n_ij - c (v_i - v_j)) + the same of floor and walls

where o is by how much two discs overlap, and n points from j to i: a spring and a dashpot in each contact. Grains do not turn.

Good values: the defaults, snapshots every 0.1 up to a time of 10, when all is at rest but for a slow creep; lengths are in diameters.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from hpcml.core.config import Count, NonNegative, Positive
from hpcml.core.errors import ConfigError
from hpcml.equations.particles import Particles, lattice
from hpcml.graphs.graph import Graph
from hpcml.graphs.near import Near
from hpcml.graphs.neighbors import Within
from hpcml.mpi.seeds import uniform

GAP = 1.05
"""Distance of the grains of a block at first, in diameters."""


@dataclass(frozen=True)
class FallingBlock(Particles):
    """Discs of mass 1, in rows and columns at first.

    Parameters
    ----------
    columns, rows : int
        Of the block.
    diameter : float
        Of a grain.
    width : float
        Between the walls; the block begins anywhere between them.
    heights : (float, float)
        Least and largest height of the block's lower side over the floor at first.
    speed : float
        Largest speed of the block to either side at first.
    disorder : float
        Up to how far a grain is moved along each axis at first, from one side to the other, in diameters; below 0.05 none touch.
    gravity, stiffness, damping : float
        g, k, c. Grains overlap the less the larger k is against g and the square of the speed of the fall, and steps are as much shorter.

    References
    ----------
    P. A. Cundall and O. D. L. Strack, Geotechnique 29, 47 (1979).

    Examples
    --------
    >>> FallingBlock(columns=3, rows=2).places().shape
    (6, 2)
    """

    num_dims: ClassVar[tuple[int, ...]] = (2,)

    columns: Count = 6
    rows: Count = 6
    diameter: Positive = 1.0
    width: Positive = 12.0
    heights: tuple[NonNegative, NonNegative] = (1.0, 3.0)
    speed: NonNegative = 1.0
    disorder: NonNegative = 0.04
    gravity: Positive = 1.0
    stiffness: Positive = 2000.0
    damping: NonNegative = 20.0

    def __post_init__(self) -> None:
        """See that the block has room, and that heights are in order."""
        if self.width < (side := (self.columns + 1) * GAP * self.diameter):
            raise ConfigError(f"equation.width = {self.width} leaves a block of {self.columns} grains no room: expected {side:.4g} or more")
        if self.heights[0] > self.heights[1]:
            raise ConfigError(f"equation.heights are the least and the largest, got {list(self.heights)}: turn them round")

    def places(self) -> np.ndarray:
        return lattice((self.columns, self.rows), GAP * self.diameter)

    def initial_state(self, domain: Graph, samples: range, seed: int = 0) -> Tensor:
        """A block that hangs anywhere between the walls; communicates as `acceleration`."""
        places, own = torch.from_numpy(self.places()), domain.nodes.cpu()
        index = torch.arange(places.numel()).view(places.shape)
        room = self.width - self.columns * GAP * self.diameter
        positions, velocities = [], []
        for sample in samples:
            moved = (uniform(seed, ("grains", sample), index, torch.float64) - 0.5) * (self.disorder * self.diameter)
            aside, above, speed = uniform(seed, ("block", sample), torch.arange(3), torch.float64).tolist()
            corner = torch.tensor([aside * room, self.heights[0] + above * (self.heights[1] - self.heights[0])], dtype=torch.float64)
            positions.append((places + moved + corner)[own])
            velocities.append(torch.tensor([(2 * speed - 1) * self.speed, 0.0], dtype=torch.float64).expand(len(own), 2))
        position, velocity = (torch.stack(each).to(domain.device) for each in (positions, velocities))
        return self.begun(position, velocity, position[..., :0], domain)

    def acceleration(self, position: Tensor, velocity: Tensor, given: Tensor, graph: Graph) -> Tensor:
        """Gravity and contacts, found anew.

        Communication
        -------------
        As `hpcml.graphs.Near.of`, and the ghosts of what touches. The same bits on any number of ranks.
        """
        near = Near.of(graph, position, Within(self.diameter))
        state = near.rows(torch.cat([position, velocity], -1))
        lies, moves = (near.at_ends(state) - near.at_begins(state)).chunk(2, -1)
        length = lies.norm(dim=-1, keepdim=True)
        overlap = self.diameter - length
        contacts = near.aggregate(self.stiffness * overlap * lies / length.clamp(min=1e-30) - self.damping * moves)
        return contacts.unflatten(0, position.shape[:-1]) + self._from_outside(position, velocity)

    def stable_step(self, domain: Graph, state: Tensor | None = None) -> float:
        """Half of the limit, 2 over the frequency, where a grain swings between six others; less where dashpots are stiffer."""
        return 1.0 / max((6 * self.stiffness) ** 0.5, 6 * self.damping)

    def _from_outside(self, position: Tensor, velocity: Tensor) -> Tensor:
        """Gravity, and what floor and walls do."""
        x, y = position.unbind(-1)
        radius, none = self.diameter / 2, torch.zeros_like(x)
        sides = [(none - 1, none, x - self.width + radius), (none + 1, none, radius - x), (none, none + 1, radius - y)]
        total = torch.stack([none, none - self.gravity], -1)
        for *normal, overlap in sides:
            push = self.stiffness * overlap.unsqueeze(-1) * torch.stack(normal, -1) - self.damping * velocity
            total = total + torch.where((overlap > 0).unsqueeze(-1), push, torch.zeros_like(push))
        return total
