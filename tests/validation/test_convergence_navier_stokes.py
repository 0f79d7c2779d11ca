"""Turbulence converges at fourth order in time and faster than any order in space."""

import itertools
import math

import pytest
import torch

from hpcml.equations import NavierStokes
from hpcml.fields import Grid, decompose
from hpcml.mpi.reductions import all_sum
from hpcml.solvers import SpectralNavierStokes

FLOW = NavierStokes(viscosity=1e-3, drag=0.1, forcing=1.0, stirring=(0, 4))


def relative_error(domain, field, reference):
    error, size = all_sum(torch.stack([(field - reference).square().sum(), reference.square().sum()]), domain.comm)
    return math.sqrt(error / size)


def run(domain, dt, time=0.4):
    steps = round(time / dt)
    return SpectralNavierStokes(FLOW, domain, dt).rollout(FLOW.initial_state(domain, range(1)), steps, steps)[:, -1]


@pytest.mark.parallel([1, 2])
def test_time(comm):
    with decompose(Grid((32, 32)), comm) as domain:
        reference = run(domain, 0.0025)
        errors = [relative_error(domain, run(domain, dt), reference) for dt in (0.02, 0.01)]
        # The reference's own error is 1/256 of the finer one's; the next order in dt adds the rest.
        assert math.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.25), errors


@pytest.mark.parallel([1, 2])
def test_space(comm):
    """Two waves advect each other. A grid of three times as many cells has every centre of the coarser one: fields compare cell by cell."""
    flow, k = NavierStokes(viscosity=2e-3), 2 * math.pi

    def end(n):
        with decompose(Grid((n, n)), comm) as domain:
            x0, x1 = domain.centres()
            start = 5 * (torch.cos(k * x0) + torch.cos(2 * k * x1))[None, None]
            return domain.gather(SpectralNavierStokes(flow, domain, 0.005).rollout(start, 80, 80)[:, -1])

    errors = []
    for n in (12, 24, 48):
        coarse, fine = end(n), end(3 * n)[..., 1::3, 1::3]
        errors.append(float((coarse - fine).norm() / fine.norm()))
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    # No fixed order: measured 4.3, then 8.4. Differences of order 4 or 6 would stay at theirs.
    assert orders[0] > 3.5 and orders[1] > 7.5, errors
