"""Incompressible flow on triangles: what all such flows have in common.

u_t + (u . grad) u + grad p = nu Laplacian u,      div u = 0
"""

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from hpcml.core.errors import ConfigError
from hpcml.equations.equation import Equation
from hpcml.graphs.mesh import Mesh
from hpcml.graphs.triangles import Triangles
from hpcml.mpi.call import named_call
from hpcml.mpi.reductions import all_max


class IncompressibleFlow(Equation):
    """A flow whose state is the velocity at the nodes, and what the boundary is there: (batch, node, channel).

    A subclass gives its mesh and how it begins. Where the channel ``inflow`` or ``wall`` is 1 the velocity stays as it is, where
    ``outflow`` is 1 the pressure is 0, and where ``slip_0`` or ``slip_1`` is 1 that component of the velocity stays; a subclass without
    such boundaries has none of these channels.
    """

    num_dims: ClassVar[tuple[int, ...]] = (2,)
    on_mesh: ClassVar[bool] = True
    solver: ClassVar[str] = "projection"
    constrained: ClassVar[bool] = True
    given: ClassVar[tuple[str, ...]] = ("inflow", "outflow", "wall")

    viscosity: float

    @abstractmethod
    def mesh(self) -> Mesh:
        """The whole mesh, with types of nodes that are named as the channels of the boundary."""

    def check(self, domain: Any) -> None:
        """Refuse whatever is no mesh of triangles in the plane."""
        if not isinstance(domain, Triangles) or domain.positions.shape[1] != 2:
            raise ConfigError(f"{type(self).__name__} lives on triangles in the plane, not on {domain}: make them of its mesh()")

    def channels(self, num_dims: int = 2) -> tuple[str, ...]:
        return ("velocity_0", "velocity_1", *self.given)

    @named_call
    def tendency(self, state: Tensor, domain: Triangles) -> Tensor:
        """Rate of change by advection and viscosity; the pressure, which no field has a rate for, is the solver's."""
        return torch.cat([self.accelerated(state, domain) * self.moving(state), torch.zeros_like(state[..., 2:])], -1)

    def viscosity_in(self, state: Tensor | None) -> float | Tensor:
        """Viscosity of a state, the same everywhere: a number, or (batch, node, 1) where samples differ; without a state, the largest."""
        return self.viscosity

    def accelerated(self, state: Tensor, domain: Triangles, ahead: float = 0.0) -> Tensor:
        """Advection and viscosity, lumped to nodes; with ``ahead`` averaged along the way that the fluid takes in that time.

            -(u . grad) u + nu Laplacian u + (ahead / 2) (u . grad) (u . grad) u

        References
        ----------
        O. C. Zienkiewicz and R. Codina, International Journal for Numerical Methods in Fluids 20, 869 (1995).

        Communication
        -------------
        Neighbors, two messages each.
        """
        velocity = state[..., :2]
        at_corners = domain.at_corners(velocity)
        middle = at_corners.mean(-2, keepdim=True)
        gradient = domain.gradient(at_corners)
        change = (3 * middle + at_corners) @ gradient * (-1 / 12)
        if ahead:
            along = domain.slopes.to(velocity.dtype) @ middle.mT
            change = change - 0.5 * ahead * along * (middle @ gradient)
        sizes = domain.sizes.to(velocity.dtype)[:, None, None]
        return (domain.at_nodes(sizes * change) - self.viscosity_in(state) * domain.stiff(velocity)) / domain.mass.to(velocity.dtype)

    def moving(self, state: Tensor) -> Tensor:
        """1 where a component of the velocity is free, 0 where it is held, (batch, node, 2)."""
        held = torch.zeros_like(state[..., :2])
        for place, name in enumerate(self.given, 2):
            if name in ("inflow", "wall"):
                held = held + state[..., place : place + 1]
            elif name in ("slip_0", "slip_1"):
                held = held + state[..., place : place + 1] * (torch.arange(2, device=state.device) == int(name[-1]))
        return 1 - held

    def stable_step(self, domain: Triangles, state: Tensor | None = None) -> float:
        """Of explicit steps; without a state, for a speed of 1."""
        slope = domain.slopes.norm(dim=-1).amax(-1)
        speed, viscosity = torch.ones_like(slope), torch.as_tensor(self.viscosity_in(None)).to(slope)
        if state is not None:
            known = state.detach()
            viscosity = torch.as_tensor(self.viscosity_in(known)).to(known).expand_as(known[..., :1])
            at_corners = domain.at_corners(torch.cat([known[..., :2], viscosity], -1)).to(slope.dtype)
            speed, viscosity = at_corners[..., :2].norm(dim=-1).amax(-1), at_corners[..., 2].amax(-1)
        # Of a triangle with slopes G no eigenvalue of stiffness over lumped mass is above 3 |G G^T|, which is met on regular triangles.
        stiffest = torch.linalg.matrix_norm(domain.slopes, 2) ** 2
        rate = speed * slope + 1.6 * viscosity * stiffest
        return 1 / float(all_max(rate.amax() if rate.numel() else torch.zeros(()).to(rate), domain.world_comm))
