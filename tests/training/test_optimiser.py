"""The optimiser steps as torch's AdamW does; any of torch's may take its place, and leaves alone what is frozen."""

import pytest
import torch

from hpcml.core.errors import ConfigError
from hpcml.core.options import Choice
from hpcml.training.optimiser import build_optimiser, lay_out


class RealAndComplex(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Parameter(torch.randn(5))
        self.modes = torch.nn.Parameter(torch.randn(3, 2, dtype=torch.complex64))
        self.last = torch.nn.Parameter(torch.randn(2, 2))


def test_real_and_complex_parameters_step_as_with_one_plain_optimiser():
    ours, theirs = RealAndComplex(), RealAndComplex()
    optimisers = (
        build_optimiser(ours, Choice(name="adamw", weight_decay=0.01), 0.1),
        torch.optim.AdamW(theirs.parameters(), lr=0.1, weight_decay=0.01),
    )
    for _ in range(5):
        for model, optimiser in zip((ours, theirs), optimisers, strict=True):
            optimiser.zero_grad()
            sum((p.abs() ** 3).sum() for p in model.parameters()).backward()
            optimiser.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)  # five steps of 0.1 with float32 round-off


def test_any_of_torchs_takes_its_options_and_leaves_alone_what_is_frozen():
    model = RealAndComplex()
    model.first.requires_grad_(False)
    optimiser = build_optimiser(model, Choice(name="torch.optim:SGD", momentum=0.5), 0.1)
    assert isinstance(optimiser, torch.optim.SGD) and optimiser.defaults["momentum"] == 0.5
    assert [id(p) for p in optimiser.param_groups[0]["params"]] == [id(model.modes), id(model.last)]
    with pytest.raises(ConfigError, match="training.optimiser = 'torch.optim:SGD': Invalid momentum value: -1"):
        build_optimiser(model, Choice(name="torch.optim:SGD", momentum=-1), 0.1)
    with pytest.raises(ConfigError, match="training.optimiser = 'collections:Counter' makes Counter, which is no torch.optim.Optimizer"):
        build_optimiser(model, Choice(name="collections:Counter"), 0.1)
    with pytest.raises(ConfigError, match="training.optimiser = 'torch.optim.adam:adam': .*missing"):
        build_optimiser(model, Choice(name="torch.optim.adam:adam"), 0.1)


def test_matrices_that_an_optimiser_keeps_lie_as_they_do_after_a_restart():
    parameter = torch.nn.Parameter(torch.zeros(3, 2).t())
    optimiser = torch.optim.SGD([parameter], lr=0.1)
    mean, turned = torch.zeros_like(parameter), torch.arange(9.0).view(3, 3).t()
    optimiser.state[parameter] = {"mean": mean, "bases": [turned, None], "step": 3}
    lay_out(optimiser)
    state = optimiser.state[parameter]
    assert state["mean"] is mean and state["step"] == 3 and state["bases"][1] is None  # what goes element by element stays
    assert state["bases"][0].is_contiguous() and torch.equal(state["bases"][0], turned)
