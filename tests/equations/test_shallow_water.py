"""Shallow water keeps its mass and stays positive, rests when it is flat, and its exact wave is refused where it does not hold."""

import math

import pytest
import torch

from hpcml.core.errors import ConfigError
from hpcml.equations import ShallowWater
from hpcml.fields import Grid, decompose
from hpcml.mpi.reductions import all_max, all_min, all_sum
from hpcml.solvers import SSP_RK3, RungeKutta


@pytest.mark.parallel([1, 2, 3])
def test_mass_and_momentum_are_kept_to_round_off(comm):
    with decompose(Grid((16, 14)), comm) as domain:
        flow = ShallowWater()
        state = flow.initial_state(domain, range(2)) + 0.3
        total = all_sum(flow.tendency(state, domain).sum((2, 3)), comm)
        assert total.abs().max() < 1e-10  # a sum of 224 differences of fluxes of order 10 over dx = 1/16


def test_flat_water_rests_and_symmetric_water_moves_symmetrically(comm):
    domain, flow = decompose(Grid((12, 12)), comm), ShallowWater()
    flat = torch.zeros(1, 3, 12, 12, dtype=torch.float64)
    flat[:, 0] = 2.0
    assert torch.equal(flow.tendency(flat, domain), torch.zeros_like(flat))
    state = flow.initial_state(domain, range(1))
    turned = torch.stack([state[:, 0].mT, state[:, 2].mT, state[:, 1].mT], 1)
    rate = flow.tendency(state, domain)
    assert torch.allclose(flow.tendency(turned, domain), torch.stack([rate[:, 0].mT, rate[:, 2].mT, rate[:, 1].mT], 1))


def test_a_broken_dam_stays_between_its_levels(comm):
    """One step of Euler's method at half the stable step makes no new extremum of the depth."""
    domain, flow = decompose(Grid((40,)), comm), ShallowWater()
    state = torch.zeros(1, 2, 40, dtype=torch.float64)
    state[:, 0] = torch.where(torch.arange(40) < 20, 1.0, 0.1)
    after = state + 0.5 * flow.stable_step(domain, state) * flow.tendency(state, domain)
    assert after[:, 0].min() >= 0.1 - 1e-14 and after[:, 0].max() <= 1.0 + 1e-14  # round-off


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize(("shape", "thin"), [((160,), 0.003), ((160,), 1e-9), ((24, 24), 1e-4)], ids=str)
def test_water_that_breaks_over_a_thin_layer_stays_positive(comm, shape, thin):
    """By steps as long as are allowed, for the state as it is at each."""
    with decompose(Grid(shape), comm) as domain:
        flow, inside = ShallowWater(), sum((x - 0.5) ** 2 for x in domain.centres()) < 0.04
        state = torch.zeros(1, 1 + len(shape), *domain.local_shape, dtype=torch.float64)
        state[:, 0] = torch.where(inside, 1.0, thin).expand(domain.local_shape)
        mass = all_sum(state[:, 0].sum(), comm)
        for _ in range(100):
            state = RungeKutta(flow, domain, flow.stable_step(domain, state), SSP_RK3).step(state)
            assert 0 < all_min(state[:, 0].min(), comm) <= all_max(state[:, 0].max(), comm) < 1 + 1e-12  # round-off
        assert float(all_sum(state[:, 0].sum(), comm)) == pytest.approx(float(mass), rel=1e-13)  # of sums of some hundred numbers


def test_a_dam_over_a_thin_layer_breaks_as_stoker_says(comm):
    """Depth behind the bore, which a first-order scheme or negative depths would miss: J. J. Stoker, Water Waves, 1957, section 10.8."""
    domain, flow, thin = decompose(Grid((400,), 2.0), comm), ShallowWater(gravity=1.0), 0.05
    x = domain.centres()[0]
    state = torch.zeros(1, 2, 400, dtype=torch.float64)
    state[:, 0] = torch.where((x > 0.5) & (x < 1.5), 1.0, thin)
    steps, time = 400, 0.25
    end = RungeKutta(flow, domain, time / steps, SSP_RK3).rollout(state, steps, steps)[0, -1]
    # Mass and momentum across a bore of speed s into water at rest, and u + 2 c kept through the fan behind, give s by bisection.
    low, high = 0.3, 3.0
    for _ in range(60):
        s = 0.5 * (low + high)
        behind = 0.5 * thin * (math.sqrt(1 + 8 * s * s / thin) - 1)
        low, high = (s, high) if s * (1 - thin / behind) + 2 * math.sqrt(behind) < 2 else (low, s)
    between = (x > 1.5 + 0.3 * time * s) & (x < 1.5 + 0.9 * time * s)
    assert end[0][between].sub(behind).abs().mean() < 0.01 * behind  # the bore and the edge of the fan are some cells wide
    front = float(x[end[0] > 0.5 * (behind + thin)].max())
    assert front == pytest.approx(1.5 + s * time, abs=2 * 2.0 / 400)  # of two cells


def test_the_exact_wave_is_refused_where_it_does_not_hold(comm):
    domain = decompose(Grid((16,)), comm)
    with pytest.raises(ConfigError, match="until it breaks at time 0.3"):
        ShallowWater().exact(domain, 0.5)
    with pytest.raises(ConfigError, match="without rotation"):
        ShallowWater(coriolis=1.0).exact(decompose(Grid((8, 8)), comm), 0.0)


def test_a_step_is_no_longer_than_rotation_allows(comm):
    """Water that turns around in less time than a wave crosses a cell; at usual values waves alone decide."""
    domain = decompose(Grid((8, 8), 1e6), comm)
    for coriolis in (-1e30, 1e-3):
        flow = ShallowWater(coriolis=coriolis)
        state = flow.initial_state(domain, range(1))
        assert flow.stable_step(domain, state) <= flow.stable_step(domain) == 1 / abs(coriolis)
    flow = ShallowWater(coriolis=1e-3)
    state = flow.initial_state(domain, range(1))
    state[:, 1] = 0.1
    energy = float((state[:, 1:].square().sum(1) / state[:, 0]).sum())
    for _ in range(200):
        state = RungeKutta(flow, domain, flow.stable_step(domain, state), SSP_RK3).step(state)
    assert float((state[:, 1:].square().sum(1) / state[:, 0]).sum()) < energy
    small = decompose(Grid((8, 8)), comm)
    assert ShallowWater(coriolis=10.0).stable_step(small) == ShallowWater().stable_step(small)
