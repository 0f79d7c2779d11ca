"""Simulated trajectories take steps that suit the flow as it becomes, not as it began."""

import pytest
import torch

from hpcml.core import case
from hpcml.core.errors import SolverError
from hpcml.equations import Heat, NavierStokes
from hpcml.fields import Grid, decompose
from hpcml.runs.simulation import trajectories


def spec(**values):
    return case.Simulation(kind="simulation", **values)


@pytest.mark.parallel([1, 2])
def test_a_flow_that_is_stirred_to_ten_times_its_speed_stays_finite(comm):
    """The step of the initial state becomes unstable on the way."""
    with decompose(Grid((8, 8)), comm) as domain:
        flow = NavierStokes(viscosity=1e-2, forcing=100.0)
        states = list(trajectories(flow, spec(interval=0.2), domain, range(1), snapshots=6, shown=False))
        first, last = (flow.stable_step(domain, state) for state in (states[0], states[-1]))
        assert last < 0.1 * first
        assert torch.isfinite(states[-1]).all()


@pytest.mark.parallel([1, 2])
def test_an_interval_in_which_the_flow_speeds_up_is_begun_again_with_shorter_steps(comm):
    """From nearly rest the first guess is one step; the wave that the stirring makes of rest is known."""
    with decompose(Grid((16, 16)), comm) as domain:
        flow = NavierStokes(viscosity=1e-2, forcing=10.0)

        class AtRest(NavierStokes):
            def initial_state(self, domain, samples, seed=0):
                return torch.zeros(len(samples), 1, *domain.local_shape, dtype=torch.float64)

        rest = AtRest(viscosity=flow.viscosity, forcing=flow.forcing)
        *_, last = trajectories(rest, spec(interval=1.0), domain, range(1), snapshots=2, shown=False)
        exact = flow.exact(domain, 1.0)
        assert (last - exact).abs().max() < 1e-8 * exact.abs().max()  # of RK4: (0.8 dt)⁵ in each of some 60 steps


@pytest.mark.parallel([1, 2])
def test_spin_up_takes_whole_intervals(comm):
    with decompose(Grid((16,)), comm) as domain:
        late, early = (
            list(trajectories(Heat(), spec(interval=0.1, spin_up=spin_up), domain, range(2), snapshots=n, shown=False))
            for spin_up, n in ((0.15, 2), (0.0, 4))
        )
        assert len(late) == 2 and all(torch.equal(a, b) for a, b in zip(late, early[2:], strict=True))


@pytest.mark.parallel([1, 2])
def test_more_steps_than_anyone_can_wait_for_are_refused_by_name(comm):
    with decompose(Grid((16,)), comm) as domain:
        states = trajectories(Heat(diffusivity=1e9), spec(interval=0.1), domain, range(1), snapshots=2, shown=False)
        with pytest.raises(SolverError, match=r"Heat\(diffusivity=1000000000.0\) needs .* steps for data.interval = 0.1 on 16 points"):
            list(states)


@pytest.mark.parametrize("spin_up", [1e30, 2e6])
def test_a_spin_up_that_nobody_can_wait_for_is_refused_before_it_begins(spin_up, comm):
    with decompose(Grid((16,)), comm) as domain:
        states = trajectories(Heat(), spec(interval=0.1, spin_up=spin_up), domain, range(1), snapshots=2, shown=False)
        with pytest.raises(SolverError, match=r"Heat.* needs .* steps for data.spin_up = 1?2?e\+\d+ in intervals of 0.1, and the most are"):
            next(states)
