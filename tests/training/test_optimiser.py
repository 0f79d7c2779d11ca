"""The optimiser steps as torch's AdamW does, and the learning rate falls as the schedule says."""

import pytest
import torch

from hpcml.core.case import Training
from hpcml.training.optimiser import build_optimiser, rate_factor


@pytest.mark.parametrize(
    ("schedule", "expected"), [("constant", [1, 1, 1, 1]), ("cosine", [1, 0.5, 0, 0.8535533905932737]), ("step", [1, 0.25, 1 / 32, 0.5])]
)
def test_rates(schedule, expected):
    spec = Training(epochs=20, schedule=schedule)
    assert [rate_factor(spec, epoch) for epoch in (0, 10, 20, 5)] == pytest.approx(expected)


class RealAndComplex(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Parameter(torch.randn(5))
        self.modes = torch.nn.Parameter(torch.randn(3, 2, dtype=torch.complex64))
        self.last = torch.nn.Parameter(torch.randn(2, 2))


def test_real_and_complex_parameters_step_as_with_one_plain_optimiser():
    ours, theirs = RealAndComplex(), RealAndComplex()
    spec = Training(learning_rate=0.1, weight_decay=0.01)
    optimisers = build_optimiser(ours, spec), torch.optim.AdamW(theirs.parameters(), lr=0.1, weight_decay=0.01)
    for _ in range(5):
        for model, optimiser in zip((ours, theirs), optimisers, strict=True):
            optimiser.zero_grad()
            sum((p.abs() ** 3).sum() for p in model.parameters()).backward()
            optimiser.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)  # five steps of 0.1 with float32 round-off
