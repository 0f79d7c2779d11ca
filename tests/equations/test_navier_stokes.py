"""The vorticity equation's advection is right where it can be worked out, and keeps what the continuous one keeps."""

import math

import pytest
import torch

from hpcml.equations import NavierStokes
from hpcml.equations.dealiased import Dealiased
from hpcml.equations.navier_stokes import velocity_modes
from hpcml.fields import Grid, decompose
from hpcml.mpi.reductions import all_sum

K = 2 * math.pi


@pytest.mark.parallel([1, 2, 3])
def test_two_waves_advect_each_other_as_on_paper(comm):
    """For ω = cos k x₀ + cos 2k x₁ the velocity is (-sin(2k x₁) / 2, sin(k x₀)) / k, so u · ∇ω = -3/2 sin(k x₀) sin(2k x₁)."""
    with decompose(Grid((16, 15)), comm) as domain:
        x0, x1 = domain.centres()
        vorticity = (torch.cos(K * x0) + torch.cos(2 * K * x1))[None, None]
        viscous = -0.01 * K**2 * (torch.cos(K * x0) + 4 * torch.cos(2 * K * x1))
        expected = 1.5 * torch.sin(K * x0) * torch.sin(2 * K * x1) + viscous
        assert (NavierStokes(viscosity=0.01).tendency(vorticity, domain) - expected).abs().max() < 1e-12  # round-off of transforms
        transform = Dealiased(domain)
        velocity = transform.field(velocity_modes(transform, transform.modes(vorticity)))
        paper = torch.stack(torch.broadcast_tensors(-torch.sin(2 * K * x1) / (2 * K), torch.sin(K * x0) / K))
        assert (velocity[0] - paper).abs().max() < 1e-14  # round-off


@pytest.mark.parallel([1, 2, 3])
def test_advection_keeps_energy_and_enstrophy(comm):
    with decompose(Grid((27, 24)), comm) as domain:
        vorticity = NavierStokes().initial_state(domain, range(2))
        transform = Dealiased(domain)
        modes = transform.modes(vorticity)
        vorticity = transform.field(modes)
        stream = transform.field(-modes / torch.where(transform.laplacian == 0, 1.0, transform.laplacian))
        rate = NavierStokes(viscosity=0.0).tendency(vorticity, domain)
        for weight in (stream, vorticity):
            total, size = all_sum(torch.stack([(weight * rate).sum((1, 2, 3)), (weight * rate).abs().sum((1, 2, 3))]), comm)
            assert (total.abs() <= 1e-12 * size).all()  # round-off: without aliases the truncated system conserves both exactly
