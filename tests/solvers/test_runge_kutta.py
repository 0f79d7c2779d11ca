"""Runge-Kutta methods have their order, run on any number of ranks, and take no step that would blow up."""

import math

import pytest
import torch

from hpcml.core.errors import ConfigError, SolverError
from hpcml.equations import AdvectionDiffusion, Burgers, GrayScott, Heat, KuramotoSivashinsky, ShallowWater, Wave
from hpcml.fields import Grid, decompose
from hpcml.solvers import RK4, SSP_RK3, RungeKutta
from hpcml.solvers.solver import TOLERATED

CASES = [
    pytest.param(Heat(), Grid((9, 8, 7), periodic=(True, False, True)), RK4, id="heat"),
    pytest.param(AdvectionDiffusion((1.0, -0.5), 1e-3), Grid((15, 12)), RK4, id="advection"),
    pytest.param(Burgers(0.02), Grid((14, 13)), RK4, id="burgers"),
    pytest.param(Wave(), Grid((17,), periodic=False), RK4, id="wave"),
    pytest.param(GrayScott(), Grid((12, 12), 0.5), RK4, id="gray-scott"),
    pytest.param(KuramotoSivashinsky(), Grid((22,), 11.0), RK4, id="kuramoto-sivashinsky"),
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
    domain, flow = decompose(Grid((4, 4), 40.0), comm), ShallowWater(coriolis=2.0)
    state = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    state[:, :2] = 1.0
    errors = []
    for steps in (20, 40):
        end = RungeKutta(flow, domain, 1.0 / steps, tableau).rollout(state, steps, steps)[0, -1]
        exact = torch.tensor([1.0, math.cos(2.0), -math.sin(2.0)], dtype=torch.float64)
        errors.append(float((end - exact[:, None, None]).abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(tableau.order, abs=0.1)  # the next order adds dt f / 2 = 0.05 at most


@pytest.mark.parametrize(("equation", "grid", "tableau"), CASES)
def test_the_longest_step_that_is_taken_is_stable(comm, equation, grid, tableau):
    domain = decompose(grid, comm)
    state = equation.initial_state(domain, range(2))
    state = state + 1e-3 * torch.cos(math.pi * torch.arange(state.shape[-1]))  # the grid's own shortest wave, which goes first
    solver, end = RungeKutta(equation, domain, TOLERATED * equation.stable_step(domain, state), tableau), state
    for _ in range(300):
        end = solver.advance(end)
    # A mode that grew by 1 % a step would have grown twentyfold.
    assert end.abs().max() < 4 * max(state.abs().max(), equation.tendency(state, domain).abs().max())


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize(("equation", "grid", "tableau"), CASES)
def test_a_step_beyond_the_stable_one_is_refused_before_it_is_taken(comm, equation, grid, tableau):
    with decompose(grid, comm) as domain:
        state = equation.initial_state(domain, range(2))
        solver = RungeKutta(equation, domain, 1.3 * equation.stable_step(domain, state), tableau)
        for take in (solver.step, lambda u: solver.rollout(u, 500, every=100)):
            with pytest.raises(SolverError, match="is 1.3 times the longest stable one, .* after step 0: take a smaller step"):
                take(state)


@pytest.mark.parallel([1, 2])
def test_a_flow_that_outruns_its_step_is_named_at_the_next_snapshot(comm):
    """Grown twice as fast between two snapshots, with every value finite."""

    class Rushing(RungeKutta):
        def advance(self, inner):
            return 2 * inner

    with decompose(Grid((16,)), comm) as domain:
        flow = Burgers(1e-3)
        state = flow.initial_state(domain, range(1))
        solver = Rushing(flow, domain, flow.stable_step(domain, state))
        with pytest.raises(SolverError, match="after step 5"):
            solver.rollout(state, 10, every=5)


@pytest.mark.parallel([1, 2])
def test_what_cannot_be_solved_is_refused(comm):
    with decompose(Grid((16,)), comm) as domain:
        with pytest.raises(ConfigError, match="dt = -1"):
            RungeKutta(Heat(), domain, -1.0)
        with pytest.raises(ConfigError, match="velocity needs 1 components"):
            RungeKutta(AdvectionDiffusion((1.0, 1.0)), domain, 0.1)
