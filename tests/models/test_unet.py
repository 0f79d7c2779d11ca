"""A U-Net over ranks is the U-Net on one rank, trained or not, whatever lies beyond the edge."""

import pytest
import torch

from hpcml.core.errors import ConfigError, ShapeError, TopologyError
from hpcml.fields import Grid, decompose
from hpcml.models import UNet

GRIDS = {1: [(1, 1)], 2: [(2, 1), (1, 2)], 3: [(3, 1)], 4: [(4, 1), (2, 2)]}


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize(
    ("padding_mode", "norm"), [("circular", "group"), ("zeros", "none"), ("reflect", "instance"), ("replicate", "batch")]
)
def test_training_over_ranks_is_training_on_one(comm, assert_trains_alike, padding_mode, norm):
    def build(domain):
        return UNet(domain, 2, 1, channels=2, levels=3, norm=norm, padding_mode=padding_mode)

    assert_trains_alike(build, (17, 18), GRIDS[comm.size][:1])


@pytest.mark.parallel([2, 4])
def test_training_on_columns_and_squares(comm, assert_trains_alike):
    assert_trains_alike(lambda domain: UNet(domain, 2, 1, channels=2, levels=2), (10, 12), GRIDS[comm.size][1:])


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("shape", [(27,), (12, 9, 8)], ids=str)
def test_training_in_one_and_three_dims(comm, assert_trains_alike, shape):
    dims = (comm.size,) + (1,) * (len(shape) - 1)
    assert_trains_alike(lambda domain: UNet(domain, 2, 1, channels=2, levels=2), shape, [dims])


@pytest.mark.parallel([1, 2])
def test_a_network_loads_on_another_grid_and_ranks(comm):
    with decompose(Grid((16, 16)), comm) as coarse, decompose(Grid((20, 24)), comm) as fine:
        torch.manual_seed(comm.rank)  # ranks that start apart must still hold one network
        first, second, alone = (UNet(d, channels=4) for d in (coarse, fine, fine.serial()))
        for network in (second, alone):
            network.load_state_dict(first.state_dict())
        torch.manual_seed(0)
        u = torch.randn(2, 1, 20, 24)
        # float32, a dozen layers of sums of some hundred products
        assert (second(u[fine.index]) - alone(u)[fine.index]).abs().max() < 1e-4 * alone(u).abs().max()


@pytest.mark.parallel([1, 2])
def test_misuse_is_named(comm):
    with decompose(Grid((16, 16)), comm) as domain:
        with pytest.raises(ConfigError, match="unknown padding mode 'mirror'"):
            UNet(domain, channels=2, padding_mode="mirror")
        with pytest.raises(ConfigError, match="unknown norm"):
            UNet(domain, channels=2, norm="layer")
        with pytest.raises(ConfigError, match="at least 1 level"):
            UNet(domain, levels=0)
        with pytest.raises(ShapeError, match="expected its block"):
            UNet(domain, channels=2)(torch.zeros(1, 1, 7, 7))
        with pytest.raises((ShapeError, TopologyError), match=r"level \d of 6 of a U-Net on \(16, 16\) cells"):
            UNet(domain, channels=2, levels=6)
