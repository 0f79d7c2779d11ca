"""The maps of a channel MLP are modules: hooked, parametrised, replaced, and their gradients are those of all ranks."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import hpcml
from hpcml.core.errors import ShapeError
from hpcml.fields import Grid, decompose
from hpcml.models import FNO, UNet
from hpcml.models.layers import ChannelMLP, Conv2d, ConvTranspose2d, GroupNorm, SpectralConv

RANKS = pytest.mark.parallel([1, 2, 3])


@RANKS
@pytest.mark.parametrize("parametrise", [parametrizations.weight_norm, parametrizations.spectral_norm, parametrizations.orthogonal])
def test_an_inner_layer_may_be_parametrised(comm, rng, parametrise):
    """Its parameters then come in another order, and their number is another."""
    with decompose(Grid((5, 6)), comm) as domain:
        torch.manual_seed(0)
        mlp = ChannelMLP(domain, 4, 4, 3).double()
        parametrise(mlp.layers[0])
        mlp.layers[1] = nn.Conv1d(4, 3, 1, bias=False).double()
        hpcml.broadcast_parameters(mlp)
        assert hpcml.verify(mlp.eval(), torch.from_numpy(rng.standard_normal((2, 4, 5, 6)))).ok
        x = torch.from_numpy(rng.standard_normal((2, 4, 5, 6)))[domain.index]
        h = nn.functional.gelu(torch.einsum("oi,bi...->bo...", mlp.layers[0].weight[..., 0], x) + mlp.layers[0].bias.view(-1, 1, 1))
        torch.testing.assert_close(mlp(x), torch.einsum("oi,bi...->bo...", mlp.layers[1].weight[..., 0], h), rtol=1e-12, atol=1e-14)


@RANKS
def test_hooks_of_inner_layers_are_called(comm):
    with decompose(Grid((5, 6)), comm) as domain:
        mlp = ChannelMLP(domain, 2, 3, num_layers=3)
        seen = []
        for layer in mlp.layers:
            layer.register_forward_hook(lambda layer, _, y: seen.append(y.shape[1]))
        mlp.layers[2].register_forward_hook(lambda *_: torch.zeros(1, 2, domain.local_shape[0] * domain.local_shape[1]))
        assert not mlp(torch.ones(1, 2, *domain.local_shape)).any() and seen == [3, 3, 2]


@RANKS
def test_other_channels_are_one_sentence(comm):
    """Three channels into a layer of two."""
    with decompose(Grid((8, 8)), comm) as domain:
        made = [
            Conv2d(domain, 2, 2, 3),
            ConvTranspose2d(domain, 2, 2, 2, 2),
            SpectralConv(domain, 2, 2, 3),
            ChannelMLP(domain, 2),
            GroupNorm(domain, 1, 2),
            FNO(domain, 2, channels=4, modes=2),
            UNet(domain, 2, channels=4, levels=2),
        ]
        for layer in made:
            with pytest.raises(ShapeError, match=f"{type(layer).__name__} expected 2 channels, got 3"):
                layer(torch.zeros(1, 3, *domain.local_shape))


@RANKS
def test_an_empty_batch_goes_through(comm):
    with decompose(Grid((8, 8)), comm) as domain:
        for model in (FNO(domain, 2, channels=4, modes=2, norm="group"), UNet(domain, 2, channels=4, levels=2, norm="batch")):
            x = torch.zeros(0, 2, *domain.local_shape, requires_grad=True)
            y = model(x)
            y.sum().backward()
            assert y.shape == (0, 1, *domain.local_shape) and x.grad.shape == x.shape
            assert all(p.grad is not None and not p.grad.any() for p in model.parameters())
