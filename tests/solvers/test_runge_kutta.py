"""Runge-Kutta methods have their order, run on any number of ranks, and say when they blow up."""

import math

import pytest
import torch

from hpcml.core.errors import ConfigError, SolverError
from hpcml.equations import AdvectionDiffusion, Burgers, GrayScott, Heat, ShallowWater, Wave
from hpcml.fields import Grid, decompose
from hpcml.solvers import RK4, SSP_RK3, RungeKutta

CASES = [
    pytest.param(Heat(), Grid((9, 8, 7), periodic=(True, False, True)), RK4, id="heat"),
    pytest.param(AdvectionDiffusion((1.0, -0.5), 1e-3), Grid((15, 12)), RK4, id="advection"),
    pytest.param(Burgers(0.02), Grid((14, 13)), RK4, id="burgers"),
    pytest.param(Wave(), Grid((17,), periodic=False), RK4, id="wave"),
    pytest.param(GrayScott(), Grid((12, 12), 0.5), RK4, id="gray-scott"),
    pytest.param(ShallowWater(coriolis=5.0), Grid((12, 11)), SSP_RK3, id="shallow-water"),
]


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize(("equation", "grid", "tableau"), CASES)
def test_ranks_do_not_show(comm, equation, grid, tableau):
    with decompose(grid, comm) as domain:
        runs = []
        for part in (domain, domain.serial()):
            state = equation.initial_state(part, range(2))
            runs.append(RungeKutta(equation, part, 0.5 * equation.stable_step(part), tableau).rollout(state, 10, every=5))
        here, whole = runs
        assert torch.isfinite(whole).all() and not torch.allclose(whole[:, 0], whole[:, -1])
        # Both do the same arithmetic on every cell; 1e-12 is the bar of all distributed operators.
        assert (here - whole[domain.index]).abs().max() <= 1e-12 * whole.abs().max()


@pytest.mark.parametrize("tableau", [RK4, SSP_RK3], ids=["rk4", "ssp-rk3"])
def test_the_order_in_time_is_the_tableaus(comm, tableau):
    """Inertial circles: water that moves as a whole turns at the rate f."""
    domain, flow = decompose(Grid((4, 4)), comm), ShallowWater(coriolis=2.0)
    state = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    state[:, :2] = 1.0
    errors = []
    for steps in (20, 40):
        end = RungeKutta(flow, domain, 1.0 / steps, tableau).rollout(state, steps, steps)[0, -1]
        exact = torch.tensor([1.0, math.cos(2.0), -math.sin(2.0)], dtype=torch.float64)
        errors.append(float((end - exact[:, None, None]).abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(tableau.order, abs=0.1)  # the next order adds dt f / 2 = 0.05 at most


@pytest.mark.parametrize(("equation", "grid", "tableau"), CASES)
def test_the_stable_step_is_stable(comm, equation, grid, tableau):
    domain = decompose(grid, comm)
    state = equation.initial_state(domain, range(2))
    state = state + 1e-3 * torch.cos(math.pi * torch.arange(state.shape[-1]))  # the grid's own shortest wave, which goes first
    solver = RungeKutta(equation, domain, equation.stable_step(domain, state), tableau)
    end = solver.rollout(state, 300, 300)[:, -1]
    # A mode that grew by 1 % a step would have grown twentyfold.
    assert end.abs().max() < 4 * max(state.abs().max(), equation.tendency(state, domain).abs().max())


@pytest.mark.parallel([1, 2, 3])
def test_a_step_too_long_ends_in_one_error_on_every_rank(comm):
    with decompose(Grid((16,)), comm) as domain:
        heat = Heat()
        solver = RungeKutta(heat, domain, 10 * heat.stable_step(domain))
        with pytest.raises(SolverError, match="RungeKutta: the state holds NaN or infinity after step"):
            solver.rollout(heat.initial_state(domain, range(1)), 500, every=100)


@pytest.mark.parallel([1, 2])
def test_what_cannot_be_solved_is_refused(comm):
    with decompose(Grid((16,)), comm) as domain:
        with pytest.raises(ConfigError, match="dt = -1"):
            RungeKutta(Heat(), domain, -1.0)
        with pytest.raises(ConfigError, match="velocity needs 1 components"):
            RungeKutta(AdvectionDiffusion((1.0, 1.0)), domain, 0.1)
