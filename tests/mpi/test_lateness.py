"""A rank is named that is late again and again, and no rank where lateness goes round or is usual."""

import numpy as np
import pytest

from hpcml.mpi.lateness import HISTORY, LEAST_S, Lateness


def named(times, lateness=None):
    """For each step the ranks that are named."""
    lateness = lateness or Lateness(len(times[0]))
    return [[late.rank for late in lateness.add(own)] for own in times]


def steps(count, size=4, noise=0.05, seed=0):
    return 0.1 * (1 + noise * np.random.default_rng(seed).standard_normal((count, size)))


@pytest.mark.parametrize("size", [2, 3, 4, 64])
def test_a_rank_that_is_slow_from_a_step_on_is_named_at_its_third(size):
    times = steps(40, size)
    times[30:, size - 1] += 0.08
    assert named(times) == [[]] * 32 + [[size - 1]] * 8


def test_a_rank_that_is_slow_from_the_first_step_on_is_named_and_stays_so():
    times = steps(3 * HISTORY)
    times[:, 2] += 0.12
    found = named(times)
    assert found[: 8 + 2] == [[]] * 10 and found[10:] == [[2]] * (len(found) - 10)


def test_two_ranks_of_a_slow_node_are_both_named():
    times = steps(40, 6)
    times[20:, 4:] += 0.1
    assert named(times)[-1] == [4, 5]


def test_a_slowness_of_a_fifth_takes_longer_to_tell():
    times = steps(100, noise=0.02)
    times[70:, 1] += 0.02
    found = named(times)
    assert not any(found[:80]) and all(late == [1] for late in found[85:])


@pytest.mark.parametrize("heavy", [0.0, 0.3, 3.0])
def test_nobody_is_named_where_all_are_late_at_times(heavy):
    """Steps as on a machine with too much to do: a rank in ten is held up, for longer than a step."""
    chance = np.random.default_rng(3)
    times = steps(4000, seed=4) + heavy * 0.1 * chance.exponential(size=(4000, 4)) * (chance.random((4000, 4)) < 0.1)
    assert not any(named(times))


def test_a_larger_share_of_the_work_is_not_slowness():
    assert not any(named(steps(500) * np.array([1.0, 1.0, 1.3, 1.0])))


def test_steps_that_take_nothing_have_no_slow_ranks():
    times = np.zeros((40, 3))
    times[:, 0] = LEAST_S / 2
    assert not any(named(times))
