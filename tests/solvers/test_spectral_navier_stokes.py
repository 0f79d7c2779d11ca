"""Turbulence on any number of ranks is that on one, and its exact solutions come out to round-off."""

import pytest
import torch

from hpcml.core.errors import ConfigError, ShapeError, SolverError
from hpcml.equations import NavierStokes
from hpcml.fields import Grid, decompose
from hpcml.solvers import SpectralNavierStokes

STIRRED = NavierStokes(viscosity=1e-3, drag=0.1, forcing=0.5, stirring=(0, 4))


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("shape", [(24, 24), (27, 20)], ids=str)
def test_ranks_do_not_show(comm, shape):
    with decompose(Grid(shape), comm) as domain:
        runs = []
        for part in (domain, domain.serial()):
            state = STIRRED.initial_state(part, range(3))
            runs.append(SpectralNavierStokes(STIRRED, part, 0.01).rollout(state, 20, every=10))
        here, whole = runs
        assert (whole[:, -1] - whole[:, 0]).abs().max() > 1  # it does move
        assert (here - whole[domain.index]).abs().max() <= 1e-12 * whole.abs().max()  # the bar of all distributed operators


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize("flow", [NavierStokes(drag=0.2), NavierStokes(forcing=0.5, stirring=(2, 1)), STIRRED], ids=str)
def test_exact_solutions(comm, flow):
    with decompose(Grid((16, 16)), comm) as domain:
        end = SpectralNavierStokes(flow, domain, 0.02).rollout(flow.exact(domain, 0.0), 50, 50)[:, -1]
        exact = flow.exact(domain, 1.0)
        # The linear part is solved exactly, the stirring to fourth order: (λ dt)⁴ / 720 of it, with λ up to 0.8.
        assert (end - exact).abs().max() < (1e-13 if not flow.forcing else 1e-9)


def test_float32_follows_float64(comm):
    domain = decompose(Grid((24, 24)), comm)
    solver, state = SpectralNavierStokes(STIRRED, domain, 0.01), STIRRED.initial_state(domain, range(2))
    single = solver.rollout(state.float(), 20, 20)
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), solver.rollout(state, 20, 20), atol=1e-3)  # 20 steps of round-off 6e-7 of values up to 20


def test_steps_are_differentiable(comm):
    domain, flow = decompose(Grid((8, 9)), comm), NavierStokes()
    solver = SpectralNavierStokes(flow, domain, 0.01)
    state = flow.initial_state(domain, range(1)).requires_grad_()
    assert torch.autograd.gradcheck(solver.step, state, atol=1e-6)


@pytest.mark.parallel([1, 2])
def test_what_cannot_be_solved_is_named(comm):
    with pytest.raises(ConfigError, match="2 dims"):
        SpectralNavierStokes(NavierStokes(), decompose(Grid((8,)), comm), 0.1)
    with pytest.raises(ConfigError, match="periodic"):
        SpectralNavierStokes(NavierStokes(), decompose(Grid((8, 8), periodic=False), comm), 0.1)
    with decompose(Grid((16, 16)), comm) as domain:
        with pytest.raises(ConfigError, match="dt = 0"):
            SpectralNavierStokes(NavierStokes(), domain, 0.0)
        with pytest.raises(ShapeError, match="expected"):
            SpectralNavierStokes(NavierStokes(), domain, 0.1).step(torch.zeros(1, 1, 5, 5))
        flow = NavierStokes(viscosity=0.0)
        with pytest.raises(SolverError, match="after step"):
            SpectralNavierStokes(flow, domain, 1.0).rollout(flow.initial_state(domain, range(1)), 100)
