"""What a layer does with numbers that it was not made for is the same on any number of ranks: a sentence, and never a number cut short."""

import numpy as np
import pytest
import torch

from hpcml.core.errors import ShapeError
from hpcml.fields import Grid, decompose
from hpcml.graphs import Graph
from hpcml.models import ParticleNet, layers
from hpcml.models.parameter_mlp import ParameterMLP
from tests.test_meta_device import GRAPH_LAYERS, GRAPH_MODELS, LAYERS, MODELS, SHAPES

RANKS = pytest.mark.parallel([1, 2])
MOVE = {"Pad", "PixelShuffle", "PixelUnshuffle", "Roll", "Slice"}
"""Layers whose numbers are cells of their input."""
OWN = {"Pointwise", "EdgeIndexLayer", "Dropout", "MaxPool1d", "MaxPool2d", "MaxPool3d"}
"""Modules of the user's own, which say themselves what they take, and layers that do what torch's do."""
ANY_PRECISION = {"Interpolate", "AvgPool1d", "AvgPool2d", "AvgPool3d"}
"""Without parameters that the field would have to go with."""
NO_NUMBERS = [torch.int64, torch.bool, torch.complex64]
ON_GRIDS = {name: case for name, case in LAYERS.items() if name not in MOVE | OWN}
ON_GRIDS |= {name: (2, [makers[0]]) for name, makers in MODELS.items()} | {"ParameterMLP": (2, [lambda d: ParameterMLP(d, 2, 2, 8)])}
ON_GRAPHS = {
    **{name: [make] for name, make in GRAPH_MODELS.items()},
    "GraphAttention": GRAPH_LAYERS["GraphAttention"][:1],
    "ParticleNet": [lambda g: ParticleNet(g, 2, 2, radius=0.4, channels=8, steps=2)],
}


def refused(layer, space, dtype):
    with pytest.raises(ShapeError, match=f"expected a field of .*, got {str(dtype)[6:]}: (convert|give) ") as error:
        layer(torch.ones(space.field_shape(1, 2)).to(dtype))
    assert "\n" not in str(error.value)


def refuses_them_all(make, space, name):
    layer = make(space)
    assert layer(torch.ones(space.field_shape(1, 2))).is_floating_point()
    for dtype in [*NO_NUMBERS, *([] if name in ANY_PRECISION else [torch.float64])]:
        refused(layer, space, dtype)


@RANKS
@pytest.mark.parametrize("name", ON_GRIDS)
def test_numbers_of_another_kind_are_refused_on_grids(comm, name):
    num_dims, makers = ON_GRIDS[name]
    for make in makers:
        with decompose(Grid(SHAPES[num_dims]), comm) as domain:
            refuses_them_all(make, domain, name)


@RANKS
@pytest.mark.parametrize("name", ON_GRAPHS)
def test_numbers_of_another_kind_are_refused_on_graphs(comm, name):
    begins, ends = np.arange(5), (np.arange(5) + 2) % 6
    for make in ON_GRAPHS[name]:
        with Graph.deal(np.eye(6)[:, :2], np.stack([begins, ends]), comm) as graph:
            refuses_them_all(make, graph, name)


@RANKS
@pytest.mark.parametrize("dtype", [torch.int64, torch.float64, torch.bool, torch.complex64], ids=str)
def test_cells_that_are_moved_keep_their_numbers(comm, dtype):
    x = torch.arange(192).view(1, 1, 12, 16) * 2**40
    x = x.to(dtype) if dtype == torch.int64 else (x % 3).to(dtype)
    movers = {
        "Roll": (lambda d: layers.Roll(d, (1, -2)), lambda x: x.roll((1, -2), (2, 3))),
        "Slice": (lambda d: layers.Slice(d, slice(1, 9), slice(None, None, 2)), lambda x: x[..., 1:9, ::2]),
        "Pad": (lambda d: layers.Pad(d, 1), lambda x: torch.nn.functional.pad(x, (1,) * 4)),
        "PixelUnshuffle": (lambda d: layers.PixelUnshuffle(d, 2), torch.nn.PixelUnshuffle(2)),
    }
    with decompose(Grid((12, 16)), comm) as domain:
        for make, serial in movers.values():
            layer = make(domain)
            assert torch.equal(layer.domain_out.gather(layer(x[domain.index].contiguous())), serial(x))


@RANKS
def test_under_autocast_fields_of_16_and_32_bits_go_together_and_of_64_do_not(comm):
    with decompose(Grid((12, 16)), comm) as domain, torch.autocast("cpu", torch.bfloat16):
        conv = layers.Conv2d(domain, 2, 2, 3, padding=1)
        for dtype in (torch.float32, torch.bfloat16):
            assert conv(torch.ones(domain.field_shape(1, 2), dtype=dtype)).dtype == torch.bfloat16
        refused(conv, domain, torch.float64)


@RANKS
def test_complex_parameters_take_complex_fields(comm):
    with decompose(Grid((12, 16)), comm) as domain:
        conv = layers.Conv2d(domain, 2, 2, 3, padding=1, dtype=torch.complex64)
        x = torch.ones(domain.field_shape(1, 2))
        assert conv(x.to(torch.complex64)).is_complex()
        refused(conv, domain, torch.float32)
