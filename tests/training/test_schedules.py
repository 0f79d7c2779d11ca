"""The learning rate falls as the schedule says."""

from functools import partial

import pytest

from hpcml.training.schedules import constant, cosine, step


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (constant, [1, 1, 1, 1]),
        (cosine, [1, 0.5, 0, 0.8535533905932737]),
        (step, [1, 0.25, 1 / 32, 0.5]),
        (partial(step, factor=0.1, times=2), [1, 0.1, 0.01, 1]),
    ],
)
def test_rates(schedule, expected):
    assert [schedule(done) for done in (0, 0.5, 1, 0.25)] == pytest.approx(expected)
