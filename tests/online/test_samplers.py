"""Samplers that learn put simulations where training is worst, keep looking elsewhere, and go on after a restart as they would have."""

import numpy as np
import pytest

from hpcml.online.breed import Breed
from hpcml.online.difficulty import Difficulty
from hpcml.online.fixed import Halton, LatinHypercube, Sobol, Uniform
from hpcml.online.ogas import Ogas
from hpcml.online.residual_sampler import ResidualSampler

SIMULATIONS, DIMS, STEPS, CORNER = 600, 2, 5, 0.3
KINDS = {
    "breed": lambda: Breed(SIMULATIONS, DIMS, 3, every=1),
    "difficulty": lambda: Difficulty(SIMULATIONS, DIMS, 3, base="uniform", every=1, candidates=32, sharpness=2.0),
    "ogas": lambda: Ogas(SIMULATIONS, DIMS, 3, base="uniform", every=1, sharpness=2.0),
    "residual": lambda: ResidualSampler(SIMULATIONS, DIMS, 3, every=1, pool=40, chosen=10, power=1.0),
}


def hardness(points):
    """Of a solver with one hard corner, at the origin; the last step is harder everywhere."""
    return np.exp(-8 * np.linalg.norm(points, axis=1)) + 1e-3


def learn(sampler, first, last, rng):
    """Ten simulations begin between two choices; updates see ten of their samples each."""
    for begun in range(first, last, 10):
        for _ in range(10):
            simulations, steps = rng.integers(begun, begun + 10, 10), rng.integers(0, STEPS, 10)
            sampler.observe(simulations, steps, hardness(sampler.table[simulations]) * (1 + 9 * (steps == STEPS - 1)))
        open_ = np.arange(begun + 10, SIMULATIONS)
        points = sampler.choose(open_, hardness(sampler.candidates()) if sampler.scores else None)
        assert ((points >= 0) & (points <= 1)).all() and len(points) <= len(open_)
        sampler.table[open_[: len(points)]] = points


@pytest.mark.parametrize("kind", KINDS)
def test_a_hard_corner_gets_three_times_its_share_and_the_rest_is_not_left_out(kind):
    sampler = KINDS[kind]()
    learn(sampler, 0, 590, np.random.default_rng(0))
    chosen = sampler.table[200:]
    share = (np.linalg.norm(chosen, axis=1) < CORNER).mean()
    assert share > 3 * np.pi * CORNER**2 / 4, share
    assert (chosen.min(1) > 0.5).mean() > 0.05, "the opposite quarter"


@pytest.mark.parametrize("kind", KINDS)
def test_a_restart_chooses_what_it_would_have_chosen(kind):
    whole, parts = KINDS[kind](), KINDS[kind]()
    learn(whole, 0, 200, np.random.default_rng(1))
    rng = np.random.default_rng(1)
    learn(parts, 0, 100, rng)
    second = KINDS[kind]()
    second.go_on(parts.state())
    second.table[:] = parts.table
    learn(second, 100, 200, rng)
    assert (second.table == whole.table).all()
    fresh = KINDS[kind]()
    fresh.go_on(KINDS[kind]().state())  # nothing seen yet
    learn(fresh, 0, 200, np.random.default_rng(1))
    assert (fresh.table == whole.table).all()


@pytest.mark.parametrize("kind", [Uniform, Halton, Sobol, LatinHypercube])
def test_a_design_stays_as_it_is(kind):
    pytest.importorskip("scipy")
    sampler = kind(64, 2, 5)
    assert sampler.every is None and sampler.table.shape == (64, 2) and len(sampler.choose(np.arange(64), None)) == 0
    counts = np.histogram(sampler.table[:, 0], 8, (0, 1))[0]
    assert counts.sum() == 64 and (kind is Uniform or (abs(counts - 8) <= (0 if kind is not Halton else 2)).all()), counts
    assert not (sampler.table == kind(64, 2, 6).table).any()


def test_breed_takes_parents_in_proportion_to_fitness_and_children_stay_near_them_or_inside():
    sampler = Breed(1000, 2, 0, start=1.0, end=1.0, sigma=1e-4, ahead=1000)
    assert (sampler.choose(np.arange(1000), None) == sampler.design).all(), "the first generation is the design's"
    sampler.table[:3] = [[0.0, 0.0], [0.5, 0.5], [1.0, 0.2]]
    sampler.observe(np.array([0, 1, 2]), np.zeros(3, np.int64), np.array([4.0, 0.0, 2.5]))
    known, fitness = sampler.fitness()
    errors = np.array([4.0, 0.0, 2.5])
    assert known.tolist() == [0, 1, 2]
    np.testing.assert_allclose(fitness, np.maximum(errors - errors.mean(), 0) / errors.std())
    children = sampler.choose(np.arange(1000), None)
    near = [(np.abs(children - parent).max(1) < 0.06).mean() for parent in sampler.table[:3]]
    assert near[1] == 0 and near[0] + near[2] == 1
    # A binomial share of 1000: five deviations of at most 0.016.
    assert abs(near[0] - fitness[0] / fitness.sum()) < 0.08


def test_breed_forgets_what_is_older_than_its_window():
    sampler = Breed(10, 1, 0, window=2)
    for simulation in range(4):
        sampler.observe(np.array([simulation, 9]), np.zeros(2, np.int64), np.array([2.0, 1.0]))
    assert sampler.fitness()[0].tolist() == [2, 3, 9]


def test_difficulty_does_not_take_a_hard_time_for_a_hard_parameter():
    sampler = Difficulty(200, 1, 0, base="uniform", candidates=16)
    rng = np.random.default_rng(0)
    for _ in range(200):
        simulations = rng.integers(0, 100, 10)
        late = sampler.table[simulations, 0] > 0.5  # only late samples of one half were drawn, only early ones of the other
        sampler.observe(simulations, np.where(late, 1, 0), np.where(late, 100.0, 1.0))
    chosen = sampler.choose(np.arange(100, 164), None)
    # Binomial with deviation 0.0625: four of them.
    assert abs((chosen > 0.5).mean() - 0.5) < 0.25
