"""Particles, step by step: velocities half a step ahead of positions."""

import torch
from torch import Tensor

from hpcml.core.errors import ConfigError
from hpcml.equations.particles import Particles
from hpcml.graphs.graph import Graph
from hpcml.solvers.solver import Solver, check_step


class Verlet(Solver):
    """The velocity Verlet scheme, which keeps the energy of a conservative system within a bound that falls as dt^2.

        v' = v + (dt / 2) a,      x(t + dt) = x + dt v',      v(t + dt) = v' + (dt / 2) a(x(t + dt), v')

    Parameters
    ----------
    equation : Particles
        What moves.
    graph : Graph
        The particles.
    dt : float
        Step, at most ``equation.stable_step(graph, state)``.

    Raises
    ------
    ConfigError
        For an equation of something else, or a step that is not positive.

    Communication
    -------------
    That of the equation's acceleration, once a step.

    References
    ----------
    W. C. Swope and others, Journal of Chemical Physics 76, 637 (1982).
    """

    def __init__(self, equation: Particles, graph: Graph, dt: float) -> None:
        if not isinstance(equation, Particles):
            raise ConfigError(f"the solver 'verlet' moves particles, and {type(equation).__name__} has none: choose another, or none")
        equation.check(graph)
        check_step(dt)
        self.equation, self.space, self.graph, self.dt = equation, graph, graph, dt

    def stable_step(self, state: Tensor) -> float:
        return self.equation.stable_step(self.graph, state)

    def advance(self, inner: Tensor) -> Tensor:
        position, velocity, acceleration, given = self.equation.parts(inner)
        ahead = velocity + 0.5 * self.dt * acceleration
        position = position + self.dt * ahead
        acceleration = self.equation.acceleration(position, ahead, given, self.graph)
        return torch.cat([position, ahead + 0.5 * self.dt * acceleration, acceleration, given], -1)
