"""Incompressible flow on triangles, step by step: ahead without the pressure, then what diverges is taken out by its gradient."""

import torch
from torch import Tensor

from hpcml.core.config import Tolerance
from hpcml.core.errors import ConfigError
from hpcml.equations.incompressible_flow import IncompressibleFlow
from hpcml.graphs.triangles import Triangles
from hpcml.linear.conjugate_gradients import conjugate_gradients
from hpcml.solvers.solver import Solver, check_step


class Projection(Solver):
    """Chorin's projection with the characteristic-based split.

        u' = u + dt (-(u . grad) u + nu Laplacian u + (dt / 2) (u . grad) (u . grad) u)
        Laplacian p = div u' / dt,      u(t + dt) = u' - dt grad p

    Parameters
    ----------
    equation : IncompressibleFlow
        What flows.
    graph : Triangles
        Where.
    dt : float
        Step, at most ``equation.stable_step(graph, state)``.
    tolerance : float
        Of the pressure's residual over its right side.

    Raises
    ------
    ConfigError
        For an equation of something else, a space that the equation refuses, or a step that is not positive.

    Communication
    -------------
    Collective over graph.comm: four exchanges with the neighbors, and in each iteration of the pressure's conjugate gradients one and two
    all-reduces. Not differentiable.

    Notes
    -----
    Of first order in time and second in space. The first guess of a pressure goes on from the last two; what of the divergence a tolerance
    leaves is taken out in the next step.

    References
    ----------
    A. J. Chorin, Mathematics of Computation 22, 745 (1968); O. C. Zienkiewicz and R. Codina, International Journal for Numerical Methods
    in Fluids 20, 869 (1995).
    """

    def __init__(self, equation: IncompressibleFlow, graph: Triangles, dt: float, tolerance: Tolerance = 1e-3) -> None:
        if not isinstance(equation, IncompressibleFlow):
            name = type(equation).__name__
            raise ConfigError(f"the solver 'projection' takes flows that do not diverge, and {name} is none: choose another, or none")
        equation.check(graph)
        check_step(dt)
        self.equation, self.space, self.graph, self.dt, self.tolerance = equation, graph, graph, dt, tolerance

    def stable_step(self, state: Tensor) -> float:
        return self.equation.stable_step(self.graph, state)

    def enter(self, state: Tensor) -> Tensor:
        """With the last two pressures, of which nothing is known yet."""
        return torch.cat([state, torch.zeros_like(state[..., :2])], -1)

    def leave(self, inner: Tensor) -> Tensor:
        return inner[..., :-2]

    def pressure(self, state: Tensor) -> Tensor:
        """Pressure that belongs to a state, (batch, node, 1)."""
        return self.advance(self.enter(state))[..., -1:]

    @torch.no_grad()
    def advance(self, inner: Tensor) -> Tensor:
        graph, state, (before, last) = self.graph, inner[..., :-2], inner[..., -2:].split(1, -1)
        velocity, moving = state[..., :2], self.equation.moving(state)
        ahead = velocity + self.dt * moving * self.equation.accelerated(state, graph, self.dt)
        pressure = self._pressure(ahead, state, 2 * last - before)
        third = (graph.sizes.to(ahead.dtype) / 3)[:, None, None]
        slope = graph.gradient(graph.at_corners(pressure)).mT.expand(*ahead.shape[:-2], len(third), 3, 2)
        push = graph.at_nodes(third * slope)
        return torch.cat([ahead - self.dt * moving * push / graph.mass.to(ahead.dtype), state[..., 2:], last, pressure], -1)

    def _pressure(self, ahead: Tensor, state: Tensor, start: Tensor) -> Tensor:
        """Pressure whose gradient takes out what diverges, 0 at the outflow."""
        graph = self.graph
        at = 2 + self.equation.given.index("outflow") if "outflow" in self.equation.given else None
        free = torch.ones_like(start) if at is None else 1 - state[..., at : at + 1]
        spread = graph.gradient(graph.at_corners(ahead)).diagonal(dim1=-2, dim2=-1).sum(-1)
        third = (graph.sizes.to(ahead.dtype) / 3 * spread)[..., None, None].expand(*spread.shape, 3, 1)
        diagonal = free * graph.stiffness.to(ahead.dtype) + (1 - free)
        return conjugate_gradients(
            lambda p: free * graph.stiff(free * p) + (1 - free) * p,
            -free * graph.at_nodes(third) / self.dt,
            graph.comm,
            diagonal=diagonal,
            start=free * start,
            tolerance=self.tolerance,
        )
