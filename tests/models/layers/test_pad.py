"""Padding on many ranks is torch's on one."""

import pytest
from torch.nn import functional

import hpcml.models.layers as layers
from hpcml.core.errors import ConfigError, ShapeError
from hpcml.fields import Grid, decompose

SHAPES = {1: (9,), 2: (7, 6), 3: (5, 4, 6)}


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize("mode", ["constant", "circular", "reflect", "replicate"])
@pytest.mark.parametrize("num_dims", SHAPES)
def test_equals_torch(check, num_dims, mode):
    for pad in [(1, 2, 0, 3, 2, 0)[: 2 * num_dims], (0, 1) * num_dims, (3, 3) * num_dims]:
        value = 1.5 if mode == "constant" else 0.0
        serial = lambda x, p=pad, v=value: functional.pad(x, p, mode, v if mode == "constant" else None)  # noqa: E731
        check(SHAPES[num_dims], lambda domain, p=pad, v=value: layers.Pad(domain, p, mode, v), serial)


@pytest.mark.parallel([1, 2, 3])
def test_a_minus_cuts_off_and_dims_may_be_left_out(check):
    check((7, 9), lambda domain: layers.Pad(domain, (-2, 3)), lambda x: functional.pad(x, (-2, 3)))


@pytest.mark.parallel([1, 2])
def test_mistakes_are_named(comm):
    with decompose(Grid((8, 4)), comm) as domain:
        with pytest.raises(ConfigError, match="two widths"):
            layers.Pad(domain, (1, 2, 3))
        with pytest.raises(ConfigError, match="unknown padding mode"):
            layers.Pad(domain, 1, mode="mirror")
        with pytest.raises(ShapeError, match="reflect padding of 4 cells along dim 1 of 4"):
            layers.Pad(domain, 4, mode="reflect")
        with pytest.raises(ShapeError, match="cut with Slice"):
            layers.Pad(domain, -1, mode="replicate")
