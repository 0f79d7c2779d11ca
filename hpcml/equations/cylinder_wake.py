"""Flow past a cylinder in a channel, 2 dims, on triangles.

    u_t + (u . grad) u + grad p = nu Laplacian u,      div u = 0

Fluid comes in with a parabolic profile and passes the cylinder. Above a Reynolds number of about 50 the wake swings: vortices leave from
both sides in turn and travel downstream as Karman's street.

Good values: the defaults, those of the benchmark by Schaefer and Turek with a Reynolds number of 80 to 120; ``spin_up = 2``, snapshots
every 0.02. With 8 cells across the wake swings once in 19 of these at a speed of 1.5, a Strouhal number of 0.26 where the benchmark has
0.30: coarse meshes delay.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hpcml.core.config import Count, Positive
from hpcml.core.errors import ConfigError
from hpcml.equations.incompressible_flow import IncompressibleFlow
from hpcml.graphs.channel_mesh import CHANNEL, channel_with_cylinder
from hpcml.graphs.mesh import Mesh
from hpcml.graphs.triangles import Triangles
from hpcml.mpi.seeds import uniform


@dataclass(frozen=True)
class CylinderWake(IncompressibleFlow):
    """Velocity around a cylinder, and where the inflow, the outflow and the walls are.

    Parameters
    ----------
    viscosity : float
        nu, length squared per time.
    speeds : (float, float)
        Least and largest speed in the middle of the inflow: each trajectory has one of its own between them.
    length, height : float
        Of the channel.
    center : (float, float)
        Of the cylinder, from the lower end of the inflow.
    radius : float
        Of the cylinder.
    cells : int
        Of the mesh across the channel.

    References
    ----------
    M. Schaefer and S. Turek, Benchmark computations of laminar flow around a cylinder, Notes on Numerical Fluid Mechanics 52, 547 (1996).

    Examples
    --------
    >>> CylinderWake(cells=8).mesh().num_cells
    832
    """

    viscosity: Positive = 1e-3
    speeds: tuple[Positive, Positive] = (1.2, 1.8)
    length: Positive = 2.2
    height: Positive = 0.41
    center: tuple[Positive, Positive] = (0.2, 0.2)
    radius: Positive = 0.05
    cells: Count = 12

    def __post_init__(self) -> None:
        """See that speeds are in order."""
        if self.speeds[0] > self.speeds[1]:
            raise ConfigError(f"equation.speeds are the least and the largest, got {list(self.speeds)}: turn them round")

    def mesh(self) -> Mesh:
        return channel_with_cylinder(self.length, self.height, self.center, self.radius, self.cells)

    def initial_state(self, domain: Triangles, samples: range, seed: int = 0) -> Tensor:
        """The inflow everywhere, with a push to one side behind the cylinder that depends on the sample."""
        boundary = torch.stack([(domain.types == CHANNEL.index(name)).double() for name in self.given], -1)
        x, y = domain.positions.T
        profile = 4 * y * (self.height - y) / self.height**2 * (1 - boundary[:, 2])
        behind = ((x - self.center[0] - 3 * self.radius) ** 2 + (y - self.center[1]) ** 2) / (2 * self.radius) ** 2
        push = torch.exp(-behind) * (1 - boundary.sum(-1))
        chance = uniform(seed, "cylinder_wake", torch.arange(2 * samples.start, 2 * samples.stop), torch.float64).view(-1, 2, 1)
        chance = chance.to(domain.device)
        speed = self.speeds[0] + (self.speeds[1] - self.speeds[0]) * chance[:, 0]
        velocity = torch.stack([speed * profile, speed * (2 * chance[:, 1] - 1) * push], -1)
        return torch.cat([velocity, boundary.expand(len(samples), -1, -1)], -1)
