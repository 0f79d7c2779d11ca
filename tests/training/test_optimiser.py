"""The learning rate falls as the schedule says."""

import pytest

from hpcml.core.case import Training
from hpcml.training.optimiser import rate_factor


@pytest.mark.parametrize(
    ("schedule", "expected"), [("constant", [1, 1, 1, 1]), ("cosine", [1, 0.5, 0, 0.8535533905932737]), ("step", [1, 0.25, 1 / 32, 0.5])]
)
def test_rates(schedule, expected):
    spec = Training(epochs=20, schedule=schedule)
    assert [rate_factor(spec, epoch) for epoch in (0, 10, 20, 5)] == pytest.approx(expected)
