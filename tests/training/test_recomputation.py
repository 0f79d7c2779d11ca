"""What is computed again gives the same bits, keeps less, and communicates in the same order on all ranks."""

import pytest
import torch
from torch import nn

from hpcml.core.errors import ConfigError
from hpcml.data import Pairs
from hpcml.fields import Grid, decompose
from hpcml.models import FNO, UNet
from hpcml.models.layers import Conv2d, Dropout
from hpcml.models.surrogate import Surrogate
from hpcml.training import Trainer, mse, recompute

SHAPE = (16, 12)


class Deep(nn.Module):
    """One's own: blocks in a list, with masks that are numbered and a norm of torch's random numbers."""

    def __init__(self, domain):
        super().__init__()
        conv = lambda n, m: Conv2d(domain, n, m, 3, padding=1, padding_mode="circular")  # noqa: E731
        self.lift, self.head = conv(1, 4), conv(4, 1)
        self.blocks = nn.ModuleList(nn.Sequential(conv(4, 4), nn.GELU(), Dropout(domain, 0.3), conv(4, 4), nn.RReLU()) for _ in range(5))

    def forward(self, u):
        v = self.lift(u)
        for block in self.blocks:
            v = v + block(v)
        return self.head(v)


NETWORKS = {
    "fno": lambda domain: Surrogate(FNO(domain, channels=4, modes=3, layers=3, norm="batch"), 1, 1),
    "unet": lambda domain: Surrogate(UNet(domain, channels=4, levels=2, norm="batch"), 1, 1),
    "own": Deep,
}


def after_a_step(domain, network, recomputed):
    torch.manual_seed(0)
    model = NETWORKS[network](domain)
    blocks = recompute(model) if recomputed else []
    whole = torch.randn(2, 1, *SHAPE, generator=torch.Generator().manual_seed(1))
    x, kept = whole[domain.index], {}
    torch.manual_seed(3 + domain.comm.rank)  # streams of the ranks differ

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = mse(domain, model(x), x.roll(1, -1))
    held = sum(t.untyped_storage().nbytes() for t in kept.values())
    loss.backward()
    return loss, [p.grad for p in model.parameters()], list(model.state_dict().items()), held, blocks


@pytest.mark.parallel([1, 2, 4])
@pytest.mark.parametrize("network", NETWORKS)
def test_gradients_and_buffers_have_the_same_bits_and_half_is_kept(comm, network):
    with decompose(Grid(SHAPE), comm) as domain:
        loss, plain, state, kept, _ = after_a_step(domain, network, False)
        again, ours, same, less, blocks = after_a_step(domain, network, True)
        assert len(blocks) == {"fno": 4, "unet": 3, "own": 4}[network]
        assert torch.equal(loss, again) and all(torch.equal(a, b) for a, b in zip(ours, plain, strict=True))
        assert all(name == other and torch.equal(a, b) for (name, a), (other, b) in zip(state, same, strict=True))
        assert less < 0.5 * kept


def test_it_is_a_setting_of_a_training(comm):
    with decompose(Grid(SHAPE), comm) as domain:
        trainer = Trainer(model := Deep(domain), _pairs(domain), recompute=["blocks.*"], batch_size=2)
        assert trainer.fit(epochs=1) > 0 and list(model.state_dict()) == list(Deep(domain).state_dict())
        with pytest.raises(ConfigError, match=r"training\.recompute: no part of the model is called like 'block\.0'; there are lift"):
            Trainer(Deep(domain), _pairs(domain), recompute=["block.0"])


def _pairs(domain):
    return Pairs.of_whole(domain, torch.ones(2, 1, *SHAPE), torch.ones(2, 1, *SHAPE))
