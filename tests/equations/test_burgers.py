"""Fronts of Burgers' equation move at their right speed and keep the mean velocity, resolved or not."""

import pytest
import torch

from hpcml.equations import Burgers
from hpcml.equations import burgers as module
from hpcml.fields import Grid, decompose
from hpcml.mpi.reductions import all_sum
from hpcml.solvers import build_solver


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize("viscosity", [1e-3, 1e-5])
def test_the_mean_is_kept_and_the_front_moves_at_the_mean_of_its_sides(comm, viscosity):
    """1 behind and 0.3 ahead; the mean position of the fall, of which the fluxes alone decide, needs no resolution."""
    with decompose(Grid((128,)), comm) as domain:
        x, time, steps = domain.centres()[0], 0.2, 200
        state = torch.where((x > 0.2) & (x < 0.6), 1.0, 0.3)[None, None].double()
        end = build_solver(Burgers(viscosity), domain, time / steps).rollout(state, steps, steps)[:, -1]
        before, after = (domain.gather(field) for field in (state, end))
        assert float(after.mean()) == pytest.approx(float(before.mean()), abs=1e-14)  # round-off of sums of 128 numbers of order 1
        # Beyond x = 58/128, where the fan that opens at 0.2 does not come before t = 0.25, what is more than 0.3 is the moving front's.
        ahead = [float((field[..., 58:] - 0.3).mean()) * 70 / 128 / 0.7 for field in (before, after)]
        assert ahead[1] - ahead[0] == pytest.approx(0.65 * time, rel=0.005)  # viscosity and ringing bring some of the fan's foot


@pytest.mark.parallel([1, 2])
def test_a_plane_front_at_an_angle_keeps_the_mean_too(comm):
    with decompose(Grid((32, 32)), comm) as domain:
        along = sum(domain.centres()) % 1
        w = torch.where((along > 0.2) & (along < 0.5), 0.5, 0.15).double()
        flow, state = Burgers(1e-5), torch.stack([w, w])[None]
        rate = all_sum(flow.tendency(state, domain).sum((0, 2, 3)), comm)
        assert rate.abs().max() < 1e-11  # a sum of 1024 differences of order 1 over dx = 1/32


@pytest.mark.parallel([1, 2])
def test_a_front_that_the_grid_does_not_resolve_is_told_once_and_how_many_cells_it_takes(comm, caplog, monkeypatch):
    monkeypatch.setattr(module, "_told", set())
    thin, said = Burgers(viscosity=0.005), "(16,) cells do not resolve fronts of viscosity 0.005 and speeds up to 0.5"
    with decompose(Grid((16,)), comm) as coarse, decompose(Grid((50,)), comm) as fine:
        for domain in (coarse, coarse, fine):
            thin.stable_step(domain, torch.full((1, 1, *domain.local_shape), 0.5, dtype=torch.float64))
        Burgers(viscosity=0.1).stable_step(coarse, torch.full((1, 1, *coarse.local_shape), 0.5))
        thin.stable_step(coarse)
    found = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(found) == (comm.rank == 0)
    assert all(said in message and "take (50,) cells" in message for message in found)
