"""What holds for every equation: ranks do not show, in values or gradients, and the exact solution obeys the equation."""

import pytest
import torch

from hpcml.core.errors import ConfigError
from hpcml.equations import AdvectionDiffusion, Burgers, Darcy, GrayScott, Heat, KuramotoSivashinsky, NavierStokes, ShallowWater, Wave
from hpcml.fields import Grid, decompose

PULSE = GrayScott(diffusivity_u=1e-3, diffusivity_v=1.6e-3, feed=0.05, kill=0.03)
CASES = [
    pytest.param(Heat(), Grid((24,), 2.0), id="heat-1d"),
    pytest.param(Heat(), Grid((11, 8, 9), 1.0, (True, False, True)), id="heat-3d"),
    pytest.param(AdvectionDiffusion((1.0,), 0.01), Grid((23,)), id="advection-1d"),
    pytest.param(AdvectionDiffusion((0.5, -1.0), 0.01), Grid((14, 17), (1.0, 2.0)), id="advection-2d"),
    pytest.param(AdvectionDiffusion((0.5, -1.0), 0.01, "weno"), Grid((14, 17), (1.0, 2.0)), id="advection-weno-2d"),
    pytest.param(Burgers(0.05), Grid((25,)), id="burgers-1d"),
    pytest.param(Burgers(0.05), Grid((12, 17)), id="burgers-2d"),
    pytest.param(Wave(2.0), Grid((21,), periodic=False), id="wave-1d"),
    pytest.param(Wave(), Grid((16, 13)), id="wave-2d"),
    pytest.param(GrayScott(), Grid((17, 12), 0.5, False), id="gray-scott-2d"),
    pytest.param(KuramotoSivashinsky(), Grid((26,), 12.0), id="kuramoto-sivashinsky"),
    pytest.param(ShallowWater(), Grid((19,)), id="shallow-water-1d"),
    pytest.param(ShallowWater(coriolis=5.0), Grid((13, 18)), id="shallow-water-2d"),
    pytest.param(Darcy(), Grid((12, 15), periodic=False), id="darcy-2d"),
    pytest.param(NavierStokes(drag=0.1, forcing=0.5), Grid((24, 33), (1.0, 2.0)), id="navier-stokes-2d"),
]
ranks = pytest.mark.parallel([1, 2, 3, 4])
RUN = 1e-12  # relative round-off of float64 through a short run


def close(actual, expected, scale=None):
    return float((actual - expected).abs().max()) <= RUN * float((expected if scale is None else scale).abs().max())


@ranks
@pytest.mark.parametrize(("equation", "grid"), CASES)
def test_initial_states_depend_on_seed_and_sample_only(comm, equation, grid):
    with decompose(grid, comm) as domain:
        equation.check(domain)
        here, whole = equation.initial_state(domain, range(4), seed=3), equation.initial_state(domain.serial(), range(4), seed=3)
        assert here.shape == (4, len(equation.channels(domain.num_dims)), *domain.local_shape) and here.dtype == torch.float64
        assert torch.equal(here, whole[domain.index])  # to the last bit, of which a chaotic flow makes another field
        assert torch.equal(equation.initial_state(domain, range(2, 4), seed=3), here[2:])
        other = equation.initial_state(domain.serial(), range(4), seed=4)
        assert not torch.allclose(whole[0], whole[1]) and not torch.allclose(whole, other)


@ranks
@pytest.mark.parametrize(("equation", "grid"), CASES)
def test_tendency_and_its_gradient_are_those_of_one_rank(comm, equation, grid):
    with decompose(grid, comm) as domain:
        whole = equation.initial_state(domain.serial(), range(2))
        whole = whole + 0.01 * whole.roll(3, -1)  # channels that start at rest move too
        results = []
        for part, state in ((domain.serial(), whole), (domain, whole[domain.index])):
            state = state.clone().requires_grad_()
            rate = equation.tendency(state, part)
            rate.square().sum().backward()
            results.append((rate.detach(), state.grad))
        (rate_whole, grad_whole), (rate, grad) = results
        assert float(rate_whole.abs().max()) > 0
        assert close(rate, rate_whole[domain.index], rate_whole) and close(grad, grad_whole[domain.index], grad_whole)


@pytest.mark.parametrize(
    ("equation", "shape"),
    [
        (Heat(), (64, 64)),
        (AdvectionDiffusion((0.5, -1.0), 0.01), (64, 64)),
        (Burgers(0.05), (64, 64)),
        (Wave(), (64, 64)),
        (PULSE, (256,)),
        (ShallowWater(), (256, 4)),
        (NavierStokes(drag=0.1), (16, 16)),
        (NavierStokes(forcing=0.5, stirring=(2, 1)), (16, 16)),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, tuple) else "",
)
def test_the_exact_solution_obeys_the_equation(comm, equation, shape):
    domain, time, dt = decompose(Grid(shape, 1.0 if equation is not PULSE else 4.0), comm), 0.02, 1e-5
    rate = (equation.exact(domain, time + dt) - equation.exact(domain, time - dt)) / (2 * dt)
    tendency = equation.tendency(equation.exact(domain, time), domain)
    # What remains is the scheme's own error at this resolution: (k dx)²/12 is 8e-4 with 64 cells to a wave; the limiter clips crests.
    scale = rate.abs().max() if equation is not PULSE else equation.exact(domain, 0.0).abs().max() * PULSE.feed
    assert float((tendency - rate).abs().mean() / scale) < 2e-3


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize(("equation", "grid"), CASES)
def test_all_ranks_take_the_same_stable_step(comm, equation, grid):
    with decompose(grid, comm) as domain:
        state = equation.initial_state(domain, range(2))
        steps = comm.allgather((equation.stable_step(domain, state), equation.stable_step(domain)))
        assert len(set(steps)) == 1 and min(steps[0]) > 0
        whole = equation.initial_state(domain.serial(), range(2))
        assert steps[0][0] == pytest.approx(equation.stable_step(domain.serial(), whole), rel=RUN)


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize(
    ("equation", "grid", "message"),
    [
        (Burgers(), Grid((4, 4, 4)), "1 or 2 dims"),
        (Burgers(), Grid((8,), periodic=False), "periodic in every dim"),
        (AdvectionDiffusion((1.0,)), Grid((8, 8)), "velocity needs 2 components"),
        (AdvectionDiffusion((1.0,), scheme="best"), Grid((8,)), "upwind or weno, got 'best'"),
        (ShallowWater(coriolis=1.0), Grid((8,)), "coriolis = 1.0"),
        (Darcy(), Grid((8, 8)), "walls in every dim"),
    ],
    ids=str,
)
def test_a_domain_without_meaning_is_refused(comm, equation, grid, message):
    with decompose(grid, comm) as domain, pytest.raises(ConfigError, match=message):
        equation.check(domain)
