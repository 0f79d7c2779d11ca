"""The solver that a case names, or else the one that the equation names."""

from hpcml.core.errors import ConfigError
from hpcml.core.options import Choice, accepts
from hpcml.core.registry import load
from hpcml.equations.equation import Equation
from hpcml.parallel.space import Space
from hpcml.solvers.solver import Solver


def build_solver(equation: Equation, domain: Space, dt: float, choice: Choice | None = None) -> Solver:
    """Solver of an equation on a domain.

    Parameters
    ----------
    equation : Equation
        What to solve.
    domain : Domain or Graph
        Where; a solver calls it ``domain`` or ``graph``, or ``space`` if it may be either.
    dt : float
        Step in time, see ``equation.stable_step``; not looked at where the equation is steady.
    choice : Choice, optional
        Name and options of the solver, default ``equation.solver``: Fourier modes for the Navier-Stokes equations, `ssp_rk3` where fronts
        form (shallow water), conjugate gradients for Darcy flow, else `rk4`.

    Raises
    ------
    ConfigError
        For a domain that the equation refuses, a step that is not positive, or a solver that does not go with the equation.

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
    choice = choice or Choice(name=equation.solver)
    kind = load("solver", choice.name)
    word, other = ("graph", "domain") if equation.on_mesh else ("domain", "graph")
    given, accepted = {"equation": equation, word: domain, "space": domain, "dt": dt}, accepts(kind)
    equation.check(domain)
    if accepted is not None and other in accepted and word not in accepted:
        where = "meshes" if equation.on_mesh else "grids"
        raise ConfigError(
            f"solver.name = {choice.name!r} is no solver on {where}, where {type(equation).__name__} lives: choose another, or none"
        )
    if accepted is not None and equation.steady == ("dt" in accepted):
        which = "is steady, and has no step in time that" if equation.steady else "changes in time, and not in the steps that"
        raise ConfigError(
            f"{type(equation).__name__} {which} the solver {choice.name!r} takes: choose another, or none for {equation.solver!r}"
        )
    solver = kind(**{key: value for key, value in given.items() if accepted is None or key in accepted}, **choice.options)
    if not isinstance(solver, Solver):
        raise ConfigError(f"solver.name = {choice.name!r} makes {type(solver).__name__}, which is no hpcml.solvers.Solver")
    return solver
