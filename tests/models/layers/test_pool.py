"""Pooling on many ranks is torch's on one."""

import pytest
import torch
from torch import nn

import hpcml.models.layers as layers
from hpcml.core.errors import ConfigError, ShapeError
from hpcml.fields import Grid, decompose

SIZES = [1, 2, 3, 4]
SHAPES = {1: (13,), 2: (11, 8), 3: (7, 6, 8)}
CASES = {
    "aligned": dict(kernel_size=2),
    "overlapping": dict(kernel_size=3, stride=2, padding=1),
    "gaps": dict(kernel_size=2, stride=3),
    "last-window-cut": dict(kernel_size=3, stride=2, ceil_mode=True),
    "last-window-cut-and-padded": dict(kernel_size=4, stride=3, padding=2, ceil_mode=True),
}
AVERAGE = {"padding-not-counted": dict(kernel_size=4, stride=3, padding=2, ceil_mode=True, count_include_pad=False)}
MAXIMUM = {"dilated": dict(kernel_size=3, stride=2, dilation=2, padding=1, ceil_mode=True)}


@pytest.mark.parallel(SIZES)
@pytest.mark.parametrize("case", [*CASES, *AVERAGE])
@pytest.mark.parametrize("num_dims", SHAPES)
def test_average_equals_the_serial_layer(check, num_dims, case):
    arguments = (CASES | AVERAGE)[case]
    name = f"AvgPool{num_dims}d"
    check(SHAPES[num_dims], lambda domain: getattr(layers, name)(domain, **arguments), getattr(nn, name)(**arguments))


@pytest.mark.parallel(SIZES)
@pytest.mark.parametrize("case", [*CASES, *MAXIMUM])
@pytest.mark.parametrize("num_dims", SHAPES)
def test_maximum_equals_the_serial_layer(check, num_dims, case):
    arguments = (CASES | MAXIMUM)[case]
    name = f"MaxPool{num_dims}d"
    check(SHAPES[num_dims], lambda domain: getattr(layers, name)(domain, **arguments), getattr(nn, name)(**arguments))


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64], ids=str)
def test_the_largest_of_integers_is_one(comm, dtype):
    whole = (torch.arange(48).view(1, 1, 8, 6) * 7 % 23 - (0 if dtype == torch.uint8 else 30)).to(dtype)
    with decompose(Grid((8, 6)), comm) as domain:
        layer = layers.MaxPool2d(domain, 3, 1, 1)
        assert torch.equal(layer.domain_out.gather(layer(whole[domain.index].contiguous())), nn.MaxPool2d(3, 1, 1)(whole))


@pytest.mark.parallel([2, 3, 4, 6])
def test_every_dim_may_differ_and_the_divisor_be_set(check):
    arguments = dict(kernel_size=(2, 5), stride=(2, 3), padding=(1, 2), divisor_override=3)
    check((12, 13), lambda domain: layers.AvgPool2d(domain, **arguments), nn.AvgPool2d(**arguments))


@pytest.mark.parallel([1, 2])
def test_what_is_not_offered_is_named(comm):
    with decompose(Grid((8, 8)), comm) as domain:
        with pytest.raises(ConfigError, match="return_indices"):
            layers.MaxPool2d(domain, 2, return_indices=True)
        with pytest.raises(ShapeError, match="more than half"):
            layers.AvgPool2d(domain, 2, padding=2)
