"""Every equation gets the solver that suits it."""

import pytest

from hpcml.core.errors import ConfigError
from hpcml.equations import Darcy, Heat, NavierStokes, ShallowWater
from hpcml.fields import Grid, decompose
from hpcml.solvers import RK4, SSP_RK3, SpectralNavierStokes, build_solver


def test_the_equation_decides(comm):
    domain = decompose(Grid((8, 8)), comm)
    assert build_solver(Heat(), domain, 0.1).tableau is RK4
    assert build_solver(ShallowWater(), domain, 0.1).tableau is SSP_RK3
    assert isinstance(build_solver(NavierStokes(), domain, 0.1), SpectralNavierStokes)
    with pytest.raises(ConfigError, match="DarcySolver"):
        build_solver(Darcy(), decompose(Grid((8, 8), periodic=False), comm), 0.1)
