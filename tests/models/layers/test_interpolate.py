"""Interpolation on many ranks is torch's on one."""

import pytest
import torch
from torch import nn

import hpcml.models.layers as layers
from hpcml.core.errors import ConfigError, ShapeError
from hpcml.fields import Grid, decompose

SHAPES = {1: (13,), 2: (11, 8), 3: (5, 6, 8)}
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
SIZES = {
    "up-by-scale": dict(scale_factor=2),
    "down-by-scale": dict(scale_factor=0.6),
    "odd-scale": dict(scale_factor=1.7),
    "recomputed": dict(scale_factor=1.7, recompute_scale_factor=True),
    "up-by-size": dict(size=17),
    "down-by-size": dict(size=4),
}


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "area", "linear", "cubic"])
@pytest.mark.parametrize("num_dims", SHAPES)
def test_equals_the_serial_layer(check, num_dims, mode, size):
    if mode == "cubic" and num_dims != 2:
        pytest.skip("torch has no such mode")
    mode = {"linear": LINEAR[num_dims], "cubic": "bicubic"}.get(mode, mode)
    for aligned in [None, True] if mode in (*LINEAR.values(), "bicubic") else [None]:
        arguments = dict(mode=mode, align_corners=aligned, **SIZES[size])
        check(SHAPES[num_dims], lambda domain, a=arguments: layers.Interpolate(domain, **a), nn.Upsample(**arguments))


@pytest.mark.parallel([2, 3, 4])
def test_wide_areas_and_dims_that_differ(check, comm):
    for arguments in [dict(size=(3, 7), mode="area"), dict(size=(12, 29), mode="bicubic"), dict(scale_factor=(0.3, 1.0), mode="nearest")]:
        check((26, 7), lambda domain, a=arguments: layers.Interpolate(domain, **a), nn.Upsample(**arguments), dims=(comm.size, 1))


@pytest.mark.parallel([2, 3])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "area"])
def test_a_scale_that_leaves_the_size(check, mode):
    check((11, 8), lambda domain: layers.Interpolate(domain, scale_factor=1.02, mode=mode), nn.Upsample(scale_factor=1.02, mode=mode))


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic"])
def test_single_precision_positions_are_torchs(comm, mode):
    """A position in float32 decides which cell is the nearest; far from the origin it is off by much more than round-off of the values."""
    with decompose(Grid((900, 3)), comm, dims=(comm.size, 1)) as domain:
        torch.manual_seed(0)
        whole = torch.randn(1, 1, 900, 3)
        for scale in (1.1, 0.77, 1 / 3):
            expected = nn.Upsample(scale_factor=(scale, 1.0), mode=mode)(whole)
            layer = layers.Interpolate(domain, scale_factor=(scale, 1.0), mode=mode)
            ours = layer(whole[domain.index])
            # 1e-5 is the bar of float32; values are of size 1
            torch.testing.assert_close(ours, expected[layer.domain_out.index], rtol=1e-5, atol=1e-5)


@pytest.mark.parallel([1, 2])
def test_what_is_not_offered_is_named(comm):
    with decompose(Grid((8, 8)), comm) as domain:
        with pytest.raises(ConfigError, match="antialias"):
            layers.Interpolate(domain, scale_factor=2, mode="bilinear", antialias=True)
        with pytest.raises(ConfigError, match="mode 'linear' is not one of"):
            layers.Interpolate(domain, scale_factor=2, mode="linear")
        with pytest.raises(ConfigError, match="either size or scale_factor"):
            layers.Interpolate(domain)
        with pytest.raises(ConfigError, match="align_corners"):
            layers.Interpolate(domain, size=4, align_corners=False)
        with pytest.raises(ShapeError, match="no output"):
            layers.Interpolate(domain, scale_factor=0.1)
        with pytest.raises(ConfigError, match="torch's gradient is not that of its output"):
            layers.Interpolate(domain, scale_factor=1.05, mode="bicubic")
    with decompose(Grid((8,)), comm) as domain, pytest.raises(ConfigError, match="torch's gradient is not that of its output"):
        layers.Interpolate(domain, scale_factor=1.05)
