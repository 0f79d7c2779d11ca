"""Charges in a periodic box: Madelung's constant, forces that are minus the slope of the energy, which stays; the same on any ranks."""

import math

import numpy as np
import pytest
import torch
from mpi4py import MPI

from hpcml.core.errors import ConfigError
from hpcml.core.options import Choice
from hpcml.equations import ChargedParticles, Heat
from hpcml.fields import Grid, decompose
from hpcml.graphs import Graph
from hpcml.solvers import Verlet, build_solver

SMALL = ChargedParticles(side=3)
NO_EDGES = np.zeros((2, 0), np.int64)


def dealt(equation, comm):
    places = equation.places()
    return Graph.deal(places if comm.rank == 0 else places[:0], NO_EDGES, comm)


def test_a_crystal_of_salt_has_madelungs_energy():
    """-1.7475646 for a pair of ions one spacing apart (D. Borwein and others, Journal of Mathematical Physics 26, 2999, 1985)."""
    salt = ChargedParticles(softening=0.11)  # at one spacing two Gaussians of this width differ from points by erfc(4.5) = 1e-10
    with dealt(salt, MPI.COMM_SELF) as graph:
        places = torch.from_numpy(salt.places())[None]
        signs = 1 - 2 * (places.floor().sum(-1, keepdim=True) % 2)
        state = salt.begun(places, torch.zeros_like(places), signs, graph)
        assert float(salt.energy(state, graph)) / 32 == pytest.approx(-1.7475646, abs=1e-6)  # 1e-7 of a wave is left out
        assert float(salt.parts(state)[2].abs().max()) < 1e-10  # no ion is drawn to any side


def test_two_charges_far_from_their_images_attract_as_coulomb_says():
    wide = ChargedParticles(side=2, spacing=20.0, softening=1.0)
    place, charge = torch.full((1, 8, 3), 3.0, dtype=torch.float64), torch.zeros(1, 8, 1, dtype=torch.float64)
    place[0, 1, 0], charge[0, :2, 0] = 8.0, torch.tensor([1.0, -1.0])
    with dealt(wide, MPI.COMM_SELF) as graph:
        pull = wide.acceleration(place, torch.zeros_like(place), charge, graph)[0]
    charges, images = math.erf(2.5) / 25 - math.exp(-6.25) / (5 * math.pi**0.5), 4 * math.pi / 3 * 5.0 / 40.0**3  # of a dipole of 5
    assert float(pull[0, 0]) == pytest.approx(charges - images, rel=1e-3)  # images of the next order: about (5 / 40)^4
    assert float(pull[1, 0]) == pytest.approx(-float(pull[0, 0]), rel=1e-9) and float(pull[:2, 1:].abs().max()) < 1e-9


def test_forces_are_minus_the_slope_of_the_energy():
    with dealt(SMALL, MPI.COMM_SELF) as graph:
        state = SMALL.initial_state(graph, range(2)).requires_grad_()
        (slope,) = torch.autograd.grad(SMALL.energy(state, graph).sum(), state)
        torch.testing.assert_close(SMALL.parts(state)[2], -slope[..., :3], rtol=1e-9, atol=1e-9)


def test_energy_drifts_less_in_shorter_steps_and_momentum_stays():
    with dealt(SMALL, MPI.COMM_SELF) as graph:
        state, drifts = SMALL.initial_state(graph, range(3)), []
        for steps in (40, 80, 160):
            every = Verlet(SMALL, graph, 2.0 / steps).rollout(state, steps, steps // 20)
            energy = torch.stack([SMALL.energy(at, graph) for at in every.unbind(1)])
            drifts.append(float((energy - energy[0]).abs().max()) / 27)
            assert float(SMALL.parts(every)[1].sum(-2).abs().max()) < 1e-11
        assert drifts[1] < 5e-3  # of a kinetic energy of 1.5 each, over 2 units of time
        assert drifts[1] < drifts[0] / 2.5 and drifts[2] < drifts[1] / 2.5  # second order: towards 4


@pytest.mark.parallel([1, 2, 3])
def test_ranks_move_them_as_one_does(comm):
    with dealt(SMALL, comm) as graph, dealt(SMALL, MPI.COMM_SELF) as alone:
        parts, states = (graph, alone), [SMALL.initial_state(part, range(4, 6), seed=1) for part in (graph, alone)]
        torch.testing.assert_close(states[0], states[1][:, graph.nodes], rtol=1e-12, atol=1e-12)
        assert torch.equal(states[0][..., :6], states[1][:, graph.nodes, :6])  # all but what is summed over ranks
        dt = 0.5 * SMALL.stable_step(alone)
        ends = [build_solver(SMALL, part, dt).rollout(u, 8, 8)[:, -1] for part, u in zip(parts, states, strict=True)]
        torch.testing.assert_close(ends[0], ends[1][:, graph.nodes], rtol=1e-10, atol=1e-10)  # round-off that grows with disorder
        energies = [SMALL.energy(u, part) for part, u in zip(parts, ends, strict=True)]
        torch.testing.assert_close(*energies, rtol=1e-10, atol=1e-10)


def test_chance_belongs_to_seed_and_sample():
    with dealt(SMALL, MPI.COMM_SELF) as graph:
        first, again, other = (SMALL.initial_state(graph, range(n, n + 1), seed) for n, seed in ((2, 0), (2, 0), (2, 1)))
        assert torch.equal(first, again) and not torch.equal(first, other)
        assert float(SMALL.parts(first)[3].sum()) == 1.0  # of 27, 14 are positive


def test_what_does_not_go_together_is_refused(comm):
    with dealt(SMALL, comm) as graph, decompose(Grid((8, 8)), comm) as domain:
        with pytest.raises(ConfigError, match="has 64 particles in 3 dims"):
            build_solver(ChargedParticles(), graph, 0.1)
        with pytest.raises(ConfigError, match="'verlet' moves particles, and Heat has none"):
            Verlet(Heat(), domain, 0.1)
        with pytest.raises(ConfigError, match="choose no Runge-Kutta method but 'verlet'"):
            build_solver(SMALL, graph, 0.1, Choice(name="rk4"))
        with pytest.raises(ConfigError, match="must be positive"):
            Verlet(SMALL, graph, 0.0)
    with pytest.raises(ConfigError, match="more than a quarter of the box"):
        ChargedParticles(side=2, softening=0.7)
    for few in (0.019, 1e-310):
        with pytest.raises(ConfigError, match=f"softening = {few} takes more than 128 waves along the box of 4.0: take 0.02 or more"):
            ChargedParticles(softening=few)
    with pytest.raises(ConfigError, match="equation.side = 2000 makes 8000000000 particles: expected 200 at most"):
        ChargedParticles(side=2000, softening=500.0)
