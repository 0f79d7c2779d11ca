"""A surrogate is normalised by what its precision can hold."""

import math

import pytest
import torch
from torch import nn

from hpcml.core.errors import ConfigError
from hpcml.models.surrogate import Surrogate

GOOD = (torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.0]))  # the second never changes


def moments(mean, std):
    return torch.tensor([0.0, mean]), torch.tensor([1.0, std])


@pytest.mark.parametrize(
    ("mean", "std", "said"),
    [
        (0.0, 1e-44, r"has mean 0 and deviation 9\.8\d*e-45, and float32 loses digits below 1\.2e-38: choose another unit"),
        (math.nan, math.nan, "has mean nan and deviation nan: look for NaN in the data, .* which another unit makes smaller"),
        (0.0, math.inf, "has mean 0 and deviation inf: look for NaN"),
    ],
)
@pytest.mark.parametrize("which", ["inputs", "targets"])
def test_what_no_field_can_be_divided_by_is_refused(mean, std, said, which):
    model, bad = Surrogate(nn.Identity(), 2, 2), moments(mean, std)
    with pytest.raises(ConfigError, match=f"channel 1 of the {which} {said}"):
        model.fit_to(*((bad, GOOD) if which == "inputs" else (GOOD, bad)))


def test_what_it_can_is_taken_and_a_constant_stays():
    model = Surrogate(nn.Identity(), 2, 2)
    model.fit_to(GOOD, moments(1e30, 1e-30))
    assert model.input_std.tolist() == [1, 1] and model.target_std.tolist() == [1, 1]


def test_twice_the_precision_holds_smaller_numbers():
    model = Surrogate(nn.Identity(), 2, 2).double()
    small = tuple(part.double() * 1e-44 for part in GOOD)
    model.fit_to(small, small)
    assert model.input_std.tolist() == [1e-44, 1]


def test_channels_that_are_not_scaled_may_be_anything():
    network = nn.Identity()
    network.unscaled_channels = 2
    Surrogate(network, 2, 2).fit_to(moments(0.0, 1e-44), GOOD)
