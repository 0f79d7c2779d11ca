"""An FNO over ranks is the FNO on one rank, trained or not, and serves any resolution and any number of ranks."""

import pytest
import torch

from hpcml.core.errors import ConfigError, ShapeError
from hpcml.fields import Grid, decompose
from hpcml.models import FNO

GRIDS = {1: [(1, 1)], 2: [(2, 1), (1, 2)], 3: [(3, 1)], 4: [(4, 1), (2, 2)]}


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize("norm", ["none", "instance"])
def test_training_over_ranks_is_training_on_one(comm, assert_trains_alike, norm):
    def build(domain):
        return FNO(domain, 2, 1, channels=4, modes=(3, 4), layers=2, norm=norm)

    assert_trains_alike(build, (11, 14), GRIDS[comm.size], periodic=False)


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(13,), (7, 6, 8)], ids=str)
def test_training_in_one_and_three_dims(comm, assert_trains_alike, shape):
    dims = (comm.size,) if len(shape) == 1 else (comm.size, 1, 1)
    assert_trains_alike(lambda domain: FNO(domain, 2, 1, channels=4, modes=3, layers=2), shape, [dims])


@pytest.mark.parallel([1, 2])
def test_a_trained_network_loads_on_another_grid_and_ranks(comm):
    with decompose(Grid((8, 8), periodic=False), comm) as coarse, decompose(Grid((16, 12), periodic=False), comm) as fine:
        torch.manual_seed(comm.rank)  # ranks that start apart must still hold one network
        first = FNO(coarse, channels=4, modes=3, layers=2)
        second, alone = FNO(fine, channels=4, modes=3, layers=2), FNO(fine.serial(), channels=4, modes=3, layers=2)
        for network in (second, alone):
            network.load_state_dict(first.state_dict())
        torch.manual_seed(0)
        u = torch.randn(2, 1, 16, 12)
        # float32, four layers of sums of some hundred products
        assert (second(u[fine.index]) - alone(u)[fine.index]).abs().max() < 1e-5 * alone(u).abs().max()


@pytest.mark.parallel([1, 2])
def test_coordinates_say_where_a_cell_lies_between_walls(comm):
    with decompose(Grid((8, 6), periodic=(False, True)), comm) as domain:
        network = FNO(domain, channels=4, modes=2, layers=1)
        fields = network._coordinates(torch.zeros(2, 1, *domain.local_shape))
        x = (torch.arange(8) / 8)[:, None].expand(8, 6)[domain.index]
        assert [f.shape for f in fields] == 3 * [(2, 1, *domain.local_shape)]
        assert all(torch.equal(f[1, 0], whole) for f, whole in zip(fields, (x, (torch.pi * x).sin(), (torch.pi * x).cos()), strict=True))
        plain = FNO(domain, channels=4, modes=2, layers=1, coordinates=False)
        assert plain.lift.layers[0].in_channels == 1 and network.lift.layers[0].in_channels == 4


@pytest.mark.parallel([1])
def test_it_has_the_size_of_its_peers(comm):
    with decompose(Grid((16, 16), periodic=False), comm) as domain:
        network = FNO(domain, channels=32, modes=(4, 5), layers=4)
    peers_count_pairs_once = {name: 1 + name.endswith("spectral.weight") for name, _ in network.named_parameters()}
    assert sum(p.numel() // peers_count_pairs_once[name] for name, p in network.named_parameters()) < 180_000


@pytest.mark.parallel([1, 2])
def test_misuse_is_named(comm):
    with decompose(Grid((8, 8)), comm) as domain:
        with pytest.raises(ConfigError, match="Nyquist"):
            FNO(domain, modes=6)
        with pytest.raises(ConfigError, match="unknown norm 'layer': expected one of none, batch"):
            FNO(domain, modes=2, norm="layer")
        with pytest.raises(ConfigError, match="at least 1 layer"):
            FNO(domain, modes=2, layers=0)
        with pytest.raises(ShapeError, match="expected its block"):
            FNO(domain, modes=2)(torch.zeros(1, 1, 7, 7))
