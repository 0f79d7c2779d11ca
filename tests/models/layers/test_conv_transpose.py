"""Transposed convolution on many ranks is torch's on one."""

import pytest
import torch
from torch import nn

import hpcml.models.layers as layers
from hpcml.core.errors import ConfigError
from hpcml.fields import Grid, decompose

SHAPES = {1: (9,), 2: (7, 6), 3: (5, 4, 6)}
CASES = {
    "upsampling": dict(kernel_size=2, stride=2),
    "overlapping": dict(kernel_size=4, stride=2, padding=1),
    "odd": dict(kernel_size=3, stride=2, padding=1, output_padding=1),
    "gaps": dict(kernel_size=1, stride=3, output_padding=2),
    "dilated": dict(kernel_size=3, stride=1, dilation=2, padding=1, output_padding=1),
    "dilated-strided": dict(kernel_size=2, stride=3, dilation=3, padding=2),
    "cropped": dict(kernel_size=3, padding=2),
    "groups": dict(kernel_size=3, stride=2, groups=2, bias=False),
}


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("num_dims", SHAPES)
def test_equals_the_serial_layer(check, num_dims, case):
    arguments = dict(in_channels=2, out_channels=4, dtype=torch.float64, **CASES[case])
    name = f"ConvTranspose{num_dims}d"
    check(SHAPES[num_dims], lambda domain: getattr(layers, name)(domain, **arguments), getattr(nn, name)(**arguments), channels=2)


@pytest.mark.parallel([2, 3, 4, 6])
def test_every_dim_may_differ(check):
    arguments = dict(kernel_size=(5, 2), stride=(1, 3), padding=(2, 0), output_padding=(0, 1), dtype=torch.float64)
    check((12, 7), lambda domain: layers.ConvTranspose2d(domain, 1, 2, **arguments), nn.ConvTranspose2d(1, 2, **arguments))


@pytest.mark.parallel([1, 2])
def test_mistakes_are_named_on_every_rank(comm):
    with decompose(Grid((6,)), comm) as domain:
        with pytest.raises(ConfigError, match="output_padding"):
            layers.ConvTranspose1d(domain, 1, 1, 2, stride=2, output_padding=2)
        with pytest.raises(ConfigError, match="fixed at construction"):
            layers.ConvTranspose1d(domain, 1, 1, 2, stride=2)(torch.zeros(1, 1, *domain.local_shape), output_size=(12,))
