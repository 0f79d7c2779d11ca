"""Vortices of Taylor and Green in a box whose walls let fluid slip along, 2 dims, on triangles: a flow that is known for ever.

    u_t + (u . grad) u + grad p = nu Laplacian u,      div u = 0
    u = (psi_y, -psi_x) exp(-pi^2 (m^2 + n^2) nu t),      psi = a sin(m pi x) sin(n pi y) + b sin(n pi x) sin(m pi y)

Both parts of the stream function decay alike, so vorticity is a multiple of it and advection only makes pressure: any a and b will do.

Good values: the defaults, snapshots every 0.05; with 32 cells a side and the solver ``projection`` the error after a time of 0.5 is 1 %.
``[solver] name = "closed_form"`` has none.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from hpcml.core.config import Count, Positive
from hpcml.core.errors import ConfigError
from hpcml.equations.incompressible_flow import IncompressibleFlow
from hpcml.graphs.mesh import Mesh
from hpcml.graphs.mesh_shapes import halved, structured
from hpcml.graphs.triangles import Triangles
from hpcml.mpi.seeds import uniform

SIDES = ("interior", "side_0", "side_1", "corner")
"""Types of the nodes: which component of the velocity walls hold there."""
MOST_CELLS = 4000
"""One rank makes the mesh."""


@dataclass(frozen=True)
class TaylorGreen(IncompressibleFlow):
    """Velocity in the unit square, which components of it walls hold, and the viscosity, one for each trajectory.

    Parameters
    ----------
    viscosities : (float, float)
        Least and largest nu, length squared per time.
    speeds : (float, float)
        Least and largest root of a^2 + b^2, times pi and the root of m^2 + n^2; the angle between a and b is any.
    waves : (int, int)
        m and n, half waves along the sides.
    cells : int
        Of the mesh along each side.

    References
    ----------
    G. I. Taylor and A. E. Green, Proceedings of the Royal Society A 158, 499 (1937).

    Examples
    --------
    >>> TaylorGreen(cells=8).mesh().num_cells
    128
    """

    given: ClassVar[tuple[str, ...]] = ("slip_0", "slip_1", "viscosity")

    viscosities: tuple[Positive, Positive] = (0.005, 0.02)
    speeds: tuple[Positive, Positive] = (0.5, 1.0)
    waves: tuple[Count, Count] = (1, 2)
    cells: Count = 32

    def __post_init__(self) -> None:
        """See that ranges are in order, and that the mesh can show the waves."""
        for name in ("viscosities", "speeds"):
            low, high = getattr(self, name)
            if low > high:
                raise ConfigError(f"equation.{name} are the least and the largest, got {[low, high]}: turn them round")
        if not 4 * max(self.waves) <= self.cells <= MOST_CELLS:
            least = 4 * max(self.waves)
            raise ConfigError(f"equation.cells = {self.cells} along a side: expected {least}, four for each half wave, to {MOST_CELLS}")

    def mesh(self) -> Mesh:
        """Squares, moved a little inside, and cut into halves."""
        box = structured((self.cells + 1, self.cells + 1), (1.0, 1.0))
        at_ends = (box.points == 0) | (box.points == 1)
        bend = 0.03 * np.sin(2 * math.pi * box.points).prod(1, keepdims=True) * (1, -1)
        points = np.where(at_ends, box.points, box.points + bend)
        return Mesh(points, {"triangle": halved(points, box.cells["quadrilateral"])}, at_ends @ np.array([1, 2]), SIDES)

    def viscosity_in(self, state: Tensor | None) -> float | Tensor:
        return self.viscosities[1] if state is None else state[..., 4:]

    def exact(self, domain: Triangles, time: float) -> Tensor:
        """Of the largest speed and the largest viscosity, with a = b."""
        speed, viscosity = (torch.tensor([high], dtype=torch.float64) for _, high in (self.speeds, self.viscosities))
        return self.later(self._state(domain, speed, torch.full_like(speed, math.pi / 4), viscosity), domain, time)

    def later(self, state: Tensor, domain: Triangles, time: float) -> Tensor:
        decay = torch.exp(-(math.pi**2) * sum(n**2 for n in self.waves) * time * state[..., 4:])
        return torch.cat([state[..., :2] * decay, state[..., 2:]], -1)

    def initial_state(self, domain: Triangles, samples: range, seed: int = 0) -> Tensor:
        chance = uniform(seed, "taylor_green", torch.arange(3 * samples.start, 3 * samples.stop), torch.float64).view(-1, 3).T
        speed, viscosity = (low + (high - low) * part for (low, high), part in zip((self.speeds, self.viscosities), chance, strict=False))
        return self._state(domain, speed, 2 * math.pi * chance[2], viscosity)

    def _state(self, domain: Triangles, speed: Tensor, angle: Tensor, viscosity: Tensor) -> Tensor:
        """State of the flow that has a and b from a speed and an angle, one for each sample."""
        (m, n), points = self.waves, math.pi * domain.positions
        sizes = torch.stack([torch.cos(angle), torch.sin(angle)], -1) * (speed / math.hypot(m, n))[:, None]
        velocity = torch.zeros(len(speed), len(points), 2, dtype=torch.float64, device=domain.device)
        for size, (along_x, along_y) in zip(sizes.to(domain.device).T[..., None], ((m, n), (n, m)), strict=True):
            x, y = along_x * points[:, 0], along_y * points[:, 1]
            velocity[..., 0] += size * along_y * torch.sin(x) * torch.cos(y)
            velocity[..., 1] -= size * along_x * torch.cos(x) * torch.sin(y)
        held = torch.stack([domain.types & 1, domain.types >> 1], -1).double()
        known = torch.cat([velocity * (1 - held), held.expand_as(velocity)], -1)  # round-off of pi would let some through the walls
        return torch.cat([known, viscosity.to(domain.device)[:, None, None].expand_as(known[..., :1])], -1)
