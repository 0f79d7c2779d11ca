"""Shallow water keeps its mass, rests when it is flat, and its exact wave is refused where it does not hold."""

import pytest
import torch

from hpcml.core.errors import ConfigError
from hpcml.equations import ShallowWater
from hpcml.fields import Grid, decompose
from hpcml.mpi.reductions import all_sum


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


def test_the_exact_wave_is_refused_where_it_does_not_hold(comm):
    domain = decompose(Grid((16,)), comm)
    with pytest.raises(ConfigError, match="until it breaks at time 0.3"):
        ShallowWater().exact(domain, 0.5)
    with pytest.raises(ConfigError, match="without rotation"):
        ShallowWater(coriolis=1.0).exact(decompose(Grid((8, 8)), comm), 0.0)
