"""The Ewald layer is its equations wave by wave in complex numbers; what travels does not grow with the points."""

import math

import numpy as np
import pytest
import torch
from mpi4py import MPI
from torch.nn import functional as F

from hpcml import Grid, decompose
from hpcml.core.errors import ConfigError
from hpcml.models.layers import Ewald
from tests.models.twins import EXACT, SPACES, check_twin, counted_sums, deal, draw, error, mesh, shake

RANKS = pytest.mark.parallel([1, 2, 3])
CHANNELS = 6
WAYS = {"periodic": {"cutoff": 15.0, "period": (1.0, 1.1)}, "aperiodic": {"cutoff": 9.0, "spacing": 3.5}}


def build(space, **options):
    torch.manual_seed(space.comm.rank)  # parameters are those of rank 0
    return shake(Ewald(space, CHANNELS, **options).double())


def vectors(options):
    """All of half of the lattice, found in another way."""
    period = options.get("period")
    steps = [2 * math.pi / length for length in period] if period else [options["spacing"]] * 2
    every = [(a * steps[0], b * steps[1]) for a in range(-9, 10) for b in range(-9, 10) if (a, b) >= (0, 0)]
    return torch.tensor([k for k in every if math.hypot(*k) <= options["cutoff"]], dtype=torch.float64)


def plain(layer, x, r, options):
    """The equations, for (sample, point, channel) and positions (point, dim)."""
    k = vectors(options)
    if "period" in options:
        filters, damping = layer.narrow @ layer.wide.weight.T, torch.ones(len(r), dtype=torch.float64)
    else:
        r, half = r - r.mean(0), options["spacing"] / 2
        damping = torch.where(r == 0, 1.0, torch.sin(half * r) / (half * r)).prod(1)
        basis = torch.exp(-0.5 * (k.norm(dim=1)[:, None] * 47 / options["cutoff"] - torch.arange(48)) ** 2)
        filters = basis @ layer.narrow @ layer.wide.weight.T
    values, y = layer.psi(x), 0
    for wave, each in zip(k, filters, strict=True):
        there = damping * torch.polar(torch.ones(len(r), dtype=torch.float64), r @ wave)
        s = (values * there.conj()[:, None]).sum(1, keepdim=True) / len(r)
        y = y + (s * there[:, None]).real * each
    for part in layer.residual:
        y = y + F.gelu(part(y))
    return y


@RANKS
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("partition", ["bisection", "uneven"])
def test_it_computes_the_equations(comm, way, partition):
    positions, edges = mesh()
    with deal(comm, positions, edges, partition) as graph:
        layer = build(graph, **WAYS[way])
        assert layer.num_waves == len(vectors(WAYS[way])) > 5
        check_twin(graph, layer, lambda x: plain(layer, x, torch.from_numpy(positions), WAYS[way]), draw(graph, CHANNELS))


@RANKS
def test_on_a_grid_points_are_the_centres_of_cells(comm):
    with SPACES["grid"](comm) as domain:
        layer = build(domain, **WAYS["periodic"])
        r = torch.cartesian_prod((torch.arange(7).double() + 0.5) / 7, (torch.arange(6).double() + 0.5) / 6)

        def whole(x):
            return plain(layer, x.flatten(2).mT, r, WAYS["periodic"]).mT.unflatten(2, x.shape[2:])

        check_twin(domain, layer, whole, draw(domain, CHANNELS))


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("way", WAYS)
def test_forces_are_derivatives_by_positions_and_a_loss_on_them_has_a_gradient(comm, way):
    positions, edges = mesh()
    with deal(comm, positions, edges, "uneven") as graph:
        layer, x = build(graph, **WAYS[way]), draw(graph, CHANNELS)

        def forces(act, r):
            (first,) = torch.autograd.grad(act(r).square().sum(), r, create_graph=True)
            return first, torch.autograd.grad(first.square().sum(), [r, *layer.parameters()])

        r = torch.from_numpy(positions).requires_grad_()
        expected, (by_r, *second) = forces(lambda r: plain(layer, x, r, WAYS[way]), r)
        own = graph.positions.clone().requires_grad_()
        found, (by_own, *mine) = forces(lambda r: layer(x[graph.index], layer.waves(r)), own)
        assert error(found, expected[graph.nodes]) <= EXACT and error(by_own, by_r[graph.nodes]) <= 1e-10
        for a, b in zip(mine, second, strict=True):
            assert error(a, b) <= 1e-10


@pytest.mark.parallel([2])
def test_what_travels_does_not_depend_on_the_number_of_points(comm, monkeypatch):
    for side in (100, 1000):
        with decompose(Grid((side, side)), comm) as domain:
            layer = Ewald(domain, 3, 7.0, (1.0, 1.0))
            x = torch.randn(1, 3, *domain.local_shape, requires_grad=True)
            with counted_sums(monkeypatch) as sums:
                layer(x).sum().backward()
            assert sums == [2 * 3 * 3, 2 * 3 * 3, sum(p.numel() for p in layer.parameters())]  # the constant and two waves


def test_points_that_move_together_and_through_the_box_change_nothing():
    positions, edges = mesh()
    for way, shift in (("periodic", np.array([0.3, -2.2])), ("aperiodic", np.array([40.0, 1.0]))):
        layer = build(deal(MPI.COMM_SELF, positions, edges), **WAYS[way])
        x = draw(layer.space, CHANNELS)
        moved = layer(x, layer.waves(torch.from_numpy(positions + shift)))
        assert error(moved, layer(x)) <= 1e-11  # positions of 40 are known to 4e-15, waves to ten times as much


def test_a_periodic_box_is_that_of_the_space_if_nobody_says_another():
    positions, edges = mesh()
    for box, periodic in (((1.0, 1.1), True), ((1.0, 0.0), False), (None, False)):
        with deal(MPI.COMM_SELF, positions, edges, box=box) as graph:
            assert Ewald(graph, CHANNELS, 15.0)._periodic == periodic
            assert not Ewald(graph, CHANNELS, 15.0, spacing=5.0)._periodic


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cutoff": 5.0, "period": (1.0, 1.0)}, "no wave but the constant"),
        ({"cutoff": 9.0, "period": (1.0,)}, "one length for each dim"),
        ({"cutoff": 9.0, "period": (1.0, 1.0), "spacing": 1.0}, "a spacing alone"),
    ],
)
def test_what_cannot_be_is_refused(options, words):
    with SPACES["grid"](MPI.COMM_SELF) as domain, pytest.raises(ConfigError, match=words):
        Ewald(domain, CHANNELS, **options)
