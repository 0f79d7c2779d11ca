"""Waves keep their energy and come back from walls."""

import pytest
import torch

from hpcml.equations import Wave
from hpcml.equations.padded import Padded
from hpcml.fields import Grid, decompose
from hpcml.mpi.reductions import all_sum


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("periodic", [True, False])
def test_the_rate_of_the_energy_is_zero(comm, periodic):
    with decompose(Grid((14, 11), (1.0, 2.0), periodic), comm) as domain:
        wave = Wave(speed=1.5)
        state = wave.initial_state(domain, range(2)).flip(1) + wave.initial_state(domain, range(2, 4))
        rate = wave.tendency(state, domain)
        # The energy's derivative: v v' - c² u' Δu, whose sums cancel because the discrete Laplacian is symmetric.
        power = state[:, 1:] * rate[:, 1:] - wave.speed**2 * rate[:, :1] * Padded.of(state[:, :1], domain, 1).laplacian()
        total, size = all_sum(torch.stack([power.sum(), (state[:, 1:] * rate[:, 1:]).abs().sum()]), comm)
        assert abs(total) <= 1e-13 * size  # round-off of a sum
