"""Relative errors in any unit, and where there is none."""

import math

import pytest
import torch

from hpcml.fields import Grid, decompose
from hpcml.training.relative_error import mean_of_defined, relative_errors


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("unit", [1e-30, 1.0, 1e30])
def test_the_unit_does_not_matter_although_its_square_leaves_float32(unit, comm):
    whole = torch.rand(2, 3, 1, 8, 6, generator=torch.Generator().manual_seed(0)) + 0.5
    expected = ((whole[0] - whole[1]).flatten(1).norm(dim=1) / whole[1].flatten(1).norm(dim=1)).double()
    with decompose(Grid((8, 6)), comm) as domain:
        found = relative_errors(domain, *(field[domain.index] * unit for field in whole))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)  # fields are float32


@pytest.mark.parallel([1, 2])
def test_a_target_of_zero_has_no_relative_error_unless_it_is_met(comm):
    with decompose(Grid((8,)), comm) as domain:
        target = torch.stack([torch.ones(1, *domain.local_shape), *[torch.zeros(1, *domain.local_shape)] * 2])
        prediction = torch.stack([target[0] * 1.5, target[1], target[2] + 1])
        found = relative_errors(domain, prediction, target)
    assert found[:2].tolist() == [0.5, 0.0] and math.isnan(found[2])
    assert mean_of_defined(found) == (0.25, 1) and math.isnan(mean_of_defined(found[2:])[0])


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_prediction_that_is_not_finite_is_infinitely_wrong(wrong, comm):
    with decompose(Grid((8,)), comm) as domain:
        target = torch.ones(3, 1, *domain.local_shape)
        target[2] = 0
        prediction = target * 1.5
        if comm.rank == 0:
            prediction[[0, 2], 0, 0] = wrong
        found = relative_errors(domain, prediction, target)
    assert found.tolist() == [math.inf, 0.5, math.inf] and mean_of_defined(found) == (math.inf, 0)
