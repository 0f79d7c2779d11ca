"""Slicing on many ranks is torch's on one."""

import pytest
import torch

import hpcml.models.layers as layers
from hpcml.core.errors import ConfigError, ShapeError
from hpcml.fields import Grid, decompose

s_ = slice


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize(
    "slices",
    [
        (s_(None),),
        (s_(1, None),),
        (s_(None, -1),),
        (s_(3, 11, 2),),
        (s_(1, -1), s_(None, None, 2)),
        (s_(-7, 99, 3), s_(0, 6)),
        (s_(2, 4), s_(1), s_(None)),
    ],
    ids=str,
)
def test_equals_torch(check, slices):
    shape = ((13,), (13, 8), (6, 7, 5))[len(slices) - 1]
    check(shape, lambda domain: layers.Slice(domain, *slices), lambda x: x[(..., *slices)])


@pytest.mark.parallel([1, 2, 3])
def test_a_difference_of_neighbors(comm):
    """x[1:] - x[:-1], the sum of two slices that lie on one domain."""
    with decompose(Grid((13,)), comm) as domain:
        whole = torch.arange(13.0, dtype=torch.float64).pow(2).view(1, 1, 13)
        upper, lower = layers.Slice(domain, slice(1, None)), layers.Slice(domain, slice(None, -1))
        block = whole[domain.index]
        assert upper.domain_out is lower.domain_out
        assert torch.equal(upper(block) - lower(block), whole.diff()[upper.domain_out.index])


@pytest.mark.parallel([1, 2])
def test_mistakes_are_named(comm):
    with decompose(Grid((8,)), comm) as domain:
        with pytest.raises(ConfigError, match="positive step"):
            layers.Slice(domain, slice(None, None, -1))
        with pytest.raises(ConfigError, match="one slice"):
            layers.Slice(domain, slice(None), slice(None))
        with pytest.raises(ShapeError, match="leaves nothing"):
            layers.Slice(domain, slice(9, None))
