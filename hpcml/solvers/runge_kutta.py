"""Explicit Runge-Kutta methods over any equation's tendency."""

from dataclasses import dataclass

from torch import Tensor

from hpcml.core.errors import ConfigError
from hpcml.equations.equation import Equation
from hpcml.parallel.space import Space
from hpcml.solvers.solver import Solver, check_step


@dataclass(frozen=True, slots=True)
class Tableau:
    """Coefficients of an explicit Runge-Kutta method of an autonomous system.

        kᵢ = F(u + dt Σⱼ aᵢⱼ kⱼ),      u ← u + dt Σᵢ bᵢ kᵢ

    Attributes
    ----------
    stages : tuple of tuple of float
        aᵢⱼ for the stages after the first, j < i.
    weights : tuple of float
        bᵢ.
    order : int
        Of the error of a whole run, in dt.
    """

    stages: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    order: int


RK4 = Tableau(stages=((0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), weights=(1 / 6, 1 / 3, 1 / 3, 1 / 6), order=4)
"""The classical method of W. Kutta, Zeitschrift für Mathematik und Physik 46, 435 (1901)."""

SSP_RK3 = Tableau(stages=((1.0,), (0.25, 0.25)), weights=(1 / 6, 1 / 6, 2 / 3), order=3)
"""Keeps what a step of Euler's method keeps (positivity, no new extrema): C.-W. Shu, S. Osher, J. Computational Physics 77, 439 (1988)."""


class RungeKutta(Solver):
    """Explicit steps of an equation in time.

    Parameters
    ----------
    equation : Equation
        What to solve.
    space : Domain or Triangles
        Where.
    dt : float
        Step, in the equation's unit of time; at most ``equation.stable_step(space, state)``; one that is longer by a quarter or more is
        refused when it is taken.
    tableau : Tableau
        The method: `RK4` for smooth fields, `SSP_RK3` where fronts form.

    Raises
    ------
    ConfigError
        For a space that the equation refuses, a step that is not positive, or an equation that its tendency alone does not say.

    Communication
    -------------
    Neighbors: the tendency's exchange, once per stage, all channels together.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> from hpcml.equations import Heat
    >>> from hpcml.fields import Grid, decompose
    >>> domain, heat = decompose(Grid((32,)), MPI.COMM_SELF), Heat()
    >>> solver = RungeKutta(heat, domain, heat.stable_step(domain))
    >>> solver.rollout(heat.exact(domain, 0.0), num_steps=10, every=5).shape
    torch.Size([1, 3, 1, 32])
    """

    def __init__(self, equation: Equation, space: Space, dt: float, tableau: Tableau = RK4) -> None:
        equation.check(space)
        if equation.constrained:
            name = type(equation).__name__
            raise ConfigError(
                f"steps along its tendency leave what {name} is held to: choose no Runge-Kutta method but {equation.solver!r}"
            )
        check_step(dt)
        self.equation = equation
        self.space = space
        self.dt = dt
        self.tableau = tableau

    def stable_step(self, state: Tensor) -> float:
        return self.equation.stable_step(self.space, state)

    def advance(self, inner: Tensor) -> Tensor:
        rates = [self.equation.tendency(inner, self.space)]
        for row in self.tableau.stages:
            rates.append(self.equation.tendency(self._ahead(inner, rates, row), self.space))
        return self._ahead(inner, rates, self.tableau.weights)

    def _ahead(self, state: Tensor, rates: list[Tensor], weights: tuple[float, ...]) -> Tensor:
        for rate, weight in zip(rates, weights, strict=True):
            if weight:
                state = state.add(rate, alpha=weight * self.dt)
        return state


def rk4(equation: Equation, space: Space, dt: float) -> RungeKutta:
    """`RungeKutta` with the classical method of fourth order, for smooth fields.

    Communication
    -------------
    Local.
    """
    return RungeKutta(equation, space, dt, RK4)


def ssp_rk3(equation: Equation, space: Space, dt: float) -> RungeKutta:
    """`RungeKutta` with the method of third order that makes no new extrema, where fronts form.

    Communication
    -------------
    Local.
    """
    return RungeKutta(equation, space, dt, SSP_RK3)
