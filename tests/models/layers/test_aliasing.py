"""A layer gives its input itself where torch's does, and nowhere else, on any number of ranks: changing one changes no other."""

import pytest
import torch

from hpcml.fields import Grid, decompose
from hpcml.models import layers
from hpcml.parallel import all_reduce, global_sum

SAME, COPY = (
    {"dropout in eval": lambda domain: layers.Dropout(domain).eval(), "no dropout": lambda domain: layers.Dropout(domain, 0.0)},
    {
        "roll": lambda domain: layers.Roll(domain, 0),
        "roll around": lambda domain: layers.Roll(domain, domain.global_shape),
        "pad": lambda domain: layers.Pad(domain, 0),
        "pad around": lambda domain: layers.Pad(domain, 0, "circular"),
        "slice": lambda domain: layers.Slice(domain, slice(None), slice(None)),
        "shuffle": lambda domain: layers.PixelShuffle(domain, 1),
        "unshuffle": lambda domain: layers.PixelUnshuffle(domain, 1),
        "nearest": lambda domain: layers.Interpolate(domain, size=domain.global_shape),
        "linear": lambda domain: layers.Interpolate(domain, size=domain.global_shape, mode="bilinear", periodic=True),
        "area": lambda domain: layers.Interpolate(domain, size=domain.global_shape, mode="area"),
        "average": lambda domain: layers.AvgPool2d(domain, 1),
        "max": lambda domain: layers.MaxPool2d(domain, 1),
        "sum": lambda domain: lambda x: global_sum(domain.comm, x)[0],
        "reduce": lambda domain: lambda x: all_reduce(domain.comm, x),
        "halo": lambda domain: lambda x: domain.halo(x, widths=0)[0],
        "repartition": lambda domain: lambda x: domain.repartition(x, domain),
    },
)


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize("name", [*SAME, *COPY])
def test_memory_is_shared_as_torch_shares_it(comm, name):
    with decompose(Grid((8, 8)), comm) as domain:
        x = torch.ones(1, 2, *domain.local_shape)
        y = (SAME | COPY)[name](domain)(x)
        y.add_(1)
        assert bool((x == 1).all()) == (name in COPY)
