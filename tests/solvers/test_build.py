"""Every equation gets the solver that suits it."""

import pytest

from hpcml.core.errors import ConfigError
from hpcml.core.options import Choice
from hpcml.equations import Darcy, Heat, NavierStokes, ShallowWater
from hpcml.fields import Grid, decompose
from hpcml.solvers import RK4, SSP_RK3, DarcySolver, SpectralNavierStokes, build_solver


def test_the_equation_decides(comm):
    domain = decompose(Grid((8, 8)), comm)
    assert build_solver(Heat(), domain, 0.1).tableau is RK4
    assert build_solver(ShallowWater(), domain, 0.1).tableau is SSP_RK3
    assert isinstance(build_solver(NavierStokes(), domain, 0.1), SpectralNavierStokes)
    assert isinstance(build_solver(Darcy(), decompose(Grid((8, 8), periodic=False), comm), 0.0), DarcySolver)


def test_the_case_may_decide(comm):
    domain = decompose(Grid((8, 8)), comm)
    assert build_solver(Heat(), domain, 0.1, Choice(name="ssp_rk3")).tableau is SSP_RK3
    with pytest.raises(ConfigError, match="Darcy is steady, and has no step in time that the solver 'rk4' takes"):
        build_solver(Darcy(), decompose(Grid((8, 8), periodic=False), comm), 0.1, Choice(name="rk4"))
    with pytest.raises(ConfigError, match="Heat changes in time"):
        build_solver(Heat(), domain, 0.1, Choice(name="darcy"))
