"""Parameters are the same bits on all ranks: made so, and missed where they are not, by name and on every rank."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import hpcml
from hpcml.core.errors import CommunicationError, ConfigError
from hpcml.fields import Grid, decompose
from hpcml.models import FNO, UNet
from hpcml.models.layers import Conv2d

MANY = pytest.mark.parallel([2, 3])


def reinitialised(comm, module):
    """What a user does who seeds each rank differently."""
    torch.manual_seed(comm.rank)
    module.apply(lambda part: nn.init.normal_(part.weight) if isinstance(part, Conv2d) else None)
    return module


@MANY
@pytest.mark.parametrize("parametrise", [parametrizations.spectral_norm, parametrizations.weight_norm, lambda layer: layer])
def test_what_drew_its_own_numbers_is_named_and_mended(comm, parametrise):
    with decompose(Grid((8, 8)), comm) as domain:
        torch.manual_seed(comm.rank)
        model = nn.Sequential(Conv2d(domain, 2, 2, 3, padding=1), Conv2d(domain, 2, 2, 3, padding=1))
        hpcml.check_parameters(model)
        parametrise(model[1])
        reinitialised(comm, model[0])
        with pytest.raises(CommunicationError, match=r"0\.weight on ranks? .*hpcml.broadcast_parameters"):
            hpcml.check_parameters(model)
        hpcml.broadcast_parameters(model)
        hpcml.check_parameters(model)
        x = torch.ones(1, 2, *domain.local_shape)
        for _ in range(3):  # spectral norm improves its buffers at every call
            model(x).square().sum().backward()
            with torch.no_grad():
                for p in model.parameters():
                    p.sub_(p.grad, alpha=1e-2)
        hpcml.check_parameters(model)
        assert hpcml.verify(model, torch.randn(1, 2, 8, 8)).ok


@MANY
def test_the_last_bit_counts_and_so_do_buffers_and_dtypes(comm):
    with decompose(Grid((8, 8)), comm) as domain:
        for change in ("weight", "buffer", "dtype"):
            layer = Conv2d(domain, 1, 1, 3)
            layer.register_buffer("mask", torch.zeros(3))
            if comm.rank == comm.size - 1:
                if change == "weight":
                    layer.weight.data.view(-1)[4:5].view(torch.int32).add_(1)
                elif change == "buffer":
                    layer.mask[1] = 1e-40
                else:
                    layer.bias.data = layer.bias.data.double()
            name = {"weight": "weight", "buffer": "mask", "dtype": "bias"}[change]
            with pytest.raises(CommunicationError, match=f"{name} on rank"):
                hpcml.check_parameters(layer)
            if change == "weight":
                report = hpcml.verify(layer, torch.randn(1, 1, 8, 8))
                assert not report.ok and report.comparisons[0].quantity == "value of weight"


@MANY
@pytest.mark.parametrize("network", [FNO, UNet])
def test_a_network_is_compared_at_its_first_call(comm, network):
    with decompose(Grid((8, 8)), comm) as domain:
        options = {"modes": 2} if network is FNO else {"levels": 2}
        model = network(domain, channels=4, **options)
        if comm.rank:
            next(model.parameters()).data.add_(1)
        with pytest.raises(CommunicationError, match="different values of the same parameters"):
            model(torch.zeros(1, 1, *domain.local_shape))


@pytest.mark.parallel([1, 2])
def test_a_module_without_a_domain_needs_the_ranks(comm):
    with pytest.raises(ConfigError, match="pass comm="):
        hpcml.broadcast_parameters(nn.Linear(2, 2))
    hpcml.broadcast_parameters(nn.Linear(2, 2), comm)
