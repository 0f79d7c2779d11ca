"""Shuffling on many ranks is torch's on one; in 1 and 3 dims, which torch lacks, it is checked against its definition."""

import itertools

import pytest
import torch
from torch import nn

import hpcml.models.layers as layers
from hpcml.core.errors import ShapeError
from hpcml.fields import Grid, decompose


def shuffled(x, r):
    """Cell by cell: channel c r^D + (j_1 ... j_D) becomes cell (r i + j) of channel c."""
    num_dims = x.dim() - 2
    channels = x.shape[1] // r**num_dims
    columns = []
    for c in range(channels):
        y = x.new_zeros(x.shape[0], *(n * r for n in x.shape[2:]))
        for k, offsets in enumerate(itertools.product(range(r), repeat=num_dims)):
            mask = torch.zeros_like(y)
            mask[(..., *(slice(j, None, r) for j in offsets))] = 1
            spread = x[:, c * r**num_dims + k]
            for d in range(num_dims):
                spread = spread.repeat_interleave(r, d + 1)
            y = y + mask * spread
        columns.append(y)
    return torch.stack(columns, 1)


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize(("shape", "r"), [((7,), 3), ((7, 5), 2), ((5, 6), 3), ((4, 4, 5), 2)], ids=str)
def test_shuffle(check, shape, r):
    serial = nn.PixelShuffle(r) if len(shape) == 2 else lambda x: shuffled(x, r)
    check(shape, lambda domain: layers.PixelShuffle(domain, r), serial, channels=2 * r ** len(shape))


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize(("shape", "r"), [((14, 10), 2), ((15, 18), 3)], ids=str)
def test_unshuffle(check, shape, r):
    check(shape, lambda domain: layers.PixelUnshuffle(domain, r), nn.PixelUnshuffle(r), channels=2)


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("shape", [(7,), (5, 6), (4, 4, 5)], ids=str)
def test_unshuffle_undoes_shuffle(comm, shape):
    with decompose(Grid(shape), comm) as domain:
        x = torch.randn(2, 3 * 2 ** len(shape), *domain.local_shape)
        up = layers.PixelShuffle(domain, 2)
        assert torch.equal(layers.PixelUnshuffle(up.domain_out, 2)(up(x)), x)


@pytest.mark.parallel([1, 2])
def test_mistakes_are_named(comm):
    with decompose(Grid((9, 8)), comm) as domain:
        with pytest.raises(ShapeError, match="cannot be cut into blocks of 2"):
            layers.PixelUnshuffle(domain, 2)
        with pytest.raises(ShapeError, match="multiple of 4"):
            layers.PixelShuffle(domain, 2)(torch.zeros(1, 6, *domain.local_shape))
