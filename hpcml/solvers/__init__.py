"""Solvers, all with one protocol: ``step(state)`` and ``rollout(state, num_steps, every)``."""

from hpcml.solvers.build import build_solver
from hpcml.solvers.closed_form import ClosedForm
from hpcml.solvers.darcy import DarcySolver
from hpcml.solvers.neural import NeuralSolver
from hpcml.solvers.projection import Projection
from hpcml.solvers.runge_kutta import RK4, SSP_RK3, RungeKutta, Tableau
from hpcml.solvers.solver import Solver
from hpcml.solvers.spectral_navier_stokes import SpectralNavierStokes
from hpcml.solvers.verlet import Verlet

__all__ = [
    "RK4",
    "SSP_RK3",
    "ClosedForm",
    "DarcySolver",
    "NeuralSolver",
    "Projection",
    "RungeKutta",
    "Solver",
    "SpectralNavierStokes",
    "Tableau",
    "Verlet",
    "build_solver",
]
