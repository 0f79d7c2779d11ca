"""Modules that act on each cell alone: any number of ranks gives torch's values and the whole parameter gradients."""

import pytest
import torch
from torch import nn

from hpcml.core.errors import ConfigError, ShapeError
from hpcml.fields import Grid, decompose
from hpcml.models.layers import ChannelMLP, Pointwise

RANKS = pytest.mark.parallel([1, 2, 3])
TIGHT = {"rtol": 1e-12, "atol": 1e-13}  # float64 sums in another order


class TwoInputs(nn.Module):
    """Of a user: two fields, one parameter used twice."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, a, b):
        return torch.sin(self.scale * a) + self.scale * b


MODULES = [
    (lambda: nn.Linear(3, 5), True),
    (lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.GELU(), nn.Linear(4, 2, bias=False)), True),
    (lambda: nn.Conv2d(3, 4, 1), False),
    (lambda: nn.PReLU(3), False),
    (lambda: nn.Tanh(), False),
]


@RANKS
@pytest.mark.parametrize(("make", "channels_last"), MODULES, ids=["linear", "mlp", "conv", "prelu", "tanh"])
def test_a_wrapped_module_is_the_serial_one(comm, rng, make, channels_last):
    groups = 2 if comm.size % 2 == 0 else 1
    torch.manual_seed(comm.rank)  # ranks that disagree at first use rank 0's parameters
    with decompose(Grid((7, 8)), comm, data=groups) as domain:
        layer = Pointwise(domain, make().double(), channels_last)
        torch.manual_seed(0)
        module = make().double()
        assert sorted(layer.state_dict()) == sorted(f"module.{name}" for name in module.state_dict())
        whole = torch.from_numpy(rng.standard_normal((2 * groups, 3, 7, 8))).requires_grad_()
        mine = slice(2 * domain.data_index, 2 * domain.data_index + 2)
        block = whole.detach()[mine][domain.index].clone().requires_grad_()
        y = layer(block)
        reference = module(whole.movedim(1, -1)).movedim(-1, 1) if channels_last else module(whole)
        y.square().sum().backward()
        reference.square().sum().backward()
        torch.testing.assert_close(y, reference[mine][domain.index], **TIGHT)
        torch.testing.assert_close(block.grad, whole.grad[mine][domain.index], **TIGHT)
        for p, q in zip(layer.parameters(), module.parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad, **TIGHT)


@RANKS
def test_several_fields_go_in_together(comm, rng):
    with decompose(Grid((6, 7)), comm) as domain:
        layer, module = Pointwise(domain, TwoInputs()), TwoInputs()
        a, b = (torch.from_numpy(rng.standard_normal((2, 3, 6, 7))).float() for _ in range(2))
        assert torch.equal(layer(a[domain.index], b[domain.index]), module(a, b)[domain.index])
        layer(a[domain.index], b[domain.index]).sum().backward()
        module(a, b).sum().backward()
        torch.testing.assert_close(layer.module.scale.grad, module.scale.grad, rtol=1e-5, atol=1e-5)  # float32


@RANKS
@pytest.mark.parametrize("shape", [(13,), (7, 6), (4, 5, 6)], ids=str)
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_channel_mlp_is_linear_maps_of_the_channels(comm, rng, shape, num_layers):
    with decompose(Grid(shape), comm) as domain:
        layer = ChannelMLP(domain, 3, 8, 2, num_layers=num_layers).double()
        assert len(layer.layers) == num_layers
        maps = [(c.weight.detach().squeeze(-1).requires_grad_(), c.bias.detach().requires_grad_()) for c in layer.layers]
        whole = torch.from_numpy(rng.standard_normal((2, 3, *shape))).requires_grad_()
        block = whole.detach()[domain.index].clone().requires_grad_()
        h = whole
        for k, (w, b) in enumerate(maps):
            h = torch.einsum("oi,ni...->no...", w, torch.nn.functional.gelu(h) if k else h) + b.view(-1, *(1,) * len(shape))
        y = layer(block)
        h.square().sum().backward()
        y.square().sum().backward()
        torch.testing.assert_close(y, h[domain.index], **TIGHT)
        torch.testing.assert_close(block.grad, whole.grad[domain.index], **TIGHT)
        for conv, (w, b) in zip(layer.layers, maps, strict=True):
            torch.testing.assert_close(conv.weight.grad.squeeze(-1), w.grad, **TIGHT)
            torch.testing.assert_close(conv.bias.grad, b.grad, **TIGHT)


@pytest.mark.parallel([1, 2])
def test_mistakes_are_named(comm):
    with decompose(Grid((8, 8)), comm) as domain:
        with pytest.raises(ConfigError, match="channels_last=True"):
            Pointwise(domain, nn.Linear(8, 8))
        with pytest.raises(ConfigError, match="num_layers=0"):
            ChannelMLP(domain, 3, num_layers=0)
        with pytest.raises(ShapeError, match="domain.scatter"):
            ChannelMLP(domain, 3)(torch.zeros(1, 3, 9, 9))
