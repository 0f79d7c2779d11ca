"""The solver that suits an equation which steps in time."""

from hpcml.core.errors import ConfigError
from hpcml.equations.darcy import Darcy
from hpcml.equations.equation import Equation
from hpcml.equations.navier_stokes import NavierStokes
from hpcml.equations.shallow_water import ShallowWater
from hpcml.fields.domain import Domain
from hpcml.solvers.runge_kutta import RK4, SSP_RK3, RungeKutta
from hpcml.solvers.solver import Solver
from hpcml.solvers.spectral_navier_stokes import SpectralNavierStokes


def build_solver(equation: Equation, domain: Domain, dt: float) -> Solver:
    """Fourier modes for the Navier-Stokes equations, `SSP_RK3` where fronts form (shallow water), else `RK4`.

    Parameters
    ----------
    equation : Equation
        What to solve.
    domain : Domain
        Where.
    dt : float
        Step in time; see ``equation.stable_step``.

    Raises
    ------
    ConfigError
        For a domain that the equation refuses, a step that is not positive, or an equation without time.

    Communication
    -------------
    Local; that of the steps is the solver's.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> from hpcml.equations import Heat
    >>> from hpcml.fields import Grid, decompose
    >>> build_solver(Heat(), decompose(Grid((8,)), MPI.COMM_SELF), 0.1).tableau.order
    4
    """
    if isinstance(equation, Darcy):
        raise ConfigError("Darcy flow is steady and has no step in time: solve it with hpcml.solvers.DarcySolver")
    if isinstance(equation, NavierStokes):
        return SpectralNavierStokes(equation, domain, dt)
    return RungeKutta(equation, domain, dt, SSP_RK3 if isinstance(equation, ShallowWater) else RK4)
