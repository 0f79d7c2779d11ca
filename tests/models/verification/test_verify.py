"""`hpcml.verify` accepts what is right on any number of ranks and finds what is wrong, says where, and names plain torch layers."""

import copy
import re

import pytest
import torch
from torch import nn

import hpcml
from hpcml.core.errors import ConfigError, ShapeError
from hpcml.fields import Grid, decompose
from hpcml.models.layers import BatchNorm2d, ChannelMLP, Conv2d, Dropout, GroupNorm, Pointwise
from hpcml.parallel import global_sum, replicated

RANKS = pytest.mark.parallel([1, 2, 3])
MANY = pytest.mark.parallel([2, 3])


class Net(nn.Module):
    """Domains in plain attributes, in lists and in dicts; a buffer; a bias whose gradient is zero on paper; a smaller output."""

    def __init__(self, domain):
        super().__init__()
        self.first = Conv2d(domain, 2, 4, 3, padding=1, padding_mode="circular")
        self.norm = BatchNorm2d(domain, 4)
        self.drop = Dropout(domain, 0.2)
        self.mix = ChannelMLP(domain, 4, 8)
        self.down = Conv2d(domain, 4, 4, 3, stride=2, padding=1)
        self.levels = [domain, {"coarse": (self.down.domain_out,)}]
        self.last = Pointwise(self.down.domain_out, nn.Conv2d(4, 3, 1))

    def forward(self, x):
        domain, coarse = self.levels[0], self.levels[1]["coarse"][0]
        (wide,) = domain.halo(x, widths=1)
        x = x + wide[..., 2:, 1:-1]
        h = self.mix(self.drop(self.norm(self.first(x)))) * torch.cos(sum(domain.centres())).to(x)
        return self.last(self.down(torch.tanh(h))) + coarse.centres()[0].to(x)


@pytest.fixture
def field(rng):
    return torch.from_numpy(rng.standard_normal((4, 2, 13, 12))).float()


def quantities(report):
    return {comparison.quantity for comparison in report.comparisons}


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_right_model_is_right(comm, field, groups):
    with decompose(Grid((13, 12)), comm, data=groups if comm.size % groups == 0 else 1) as domain:
        model = Net(domain)
        before = copy.deepcopy(model.state_dict())
        report = hpcml.verify(model, field)
        assert report.ok, str(report)
        assert {"output", "gradient of input", "gradient of first.bias", "buffer norm.running_mean"} <= quantities(report)
        assert report.worst.error < 1e-12 and report.dims == domain.process_grid.dims
        assert all(p.grad is None for p in model.parameters())
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@RANKS
def test_float32_agrees_to_its_own_round_off(comm, field):
    with decompose(Grid((13, 12)), comm) as domain:
        report = hpcml.verify(Net(domain), field, dtype=None)
        assert report.ok, str(report)


@MANY
def test_a_field_is_given_on_rank_zero_or_in_blocks(comm, field):
    with decompose(Grid((13, 12)), comm, data=2 if comm.size % 2 == 0 else 1) as domain:
        model = Net(domain)
        share = 4 // domain.num_data
        block = field[domain.data_index * share : (domain.data_index + 1) * share][domain.index]
        for x in (field, field if comm.rank == 0 else None, block):
            report = hpcml.verify(model, x)
            assert report.ok, str(report)


class Local(nn.Module):
    """A plain layer within a model that has a domain."""

    def __init__(self, domain, layer):
        super().__init__()
        self.domain = domain
        self.layer = layer

    def forward(self, x):
        return self.layer(x)


@RANKS
@pytest.mark.parametrize(
    ("make", "instead"),
    [
        (lambda: nn.Conv2d(2, 2, 3, padding=1), "hpcml.models.layers.Conv2d"),
        (lambda: nn.Conv2d(2, 2, 1), "hpcml.models.layers.Conv2d"),
        (lambda: nn.BatchNorm2d(2), "hpcml.models.layers.BatchNorm2d"),
        (lambda: nn.GroupNorm(1, 2), "hpcml.models.layers.GroupNorm"),
        (lambda: nn.Dropout(), "hpcml.models.layers.Dropout"),
        (lambda: nn.PReLU(), r"wrap it, Pointwise\(domain, PReLU"),
        (lambda: nn.AvgPool2d(3, 1, 1), "hpcml.models.layers.AvgPool2d"),
        (lambda: nn.Sequential(nn.GELU(), nn.Upsample(scale_factor=2, mode="bicubic")), "layer.1: Upsample.*layers.Interpolate"),
        (lambda: nn.CircularPad2d(1), "hpcml.models.layers.Pad"),
        (lambda: nn.AdaptiveAvgPool2d(1), "no equal over ranks"),
    ],
)
def test_a_plain_layer_is_named_and_found_wrong(comm, field, make, instead):
    with decompose(Grid((13, 12)), comm) as domain:
        report = hpcml.verify(Local(domain, make()), field)
        assert not report.ok and re.search(instead, str(report))
        assert comm.size == 1 or not all(c.agrees for c in report.comparisons), str(report)


@RANKS
def test_what_acts_on_each_cell_is_not_named(comm, field):
    with decompose(Grid((13, 12)), comm) as domain:
        wrapped = Pointwise(domain, nn.Sequential(nn.Conv2d(2, 3, 1), nn.PReLU()))
        report = hpcml.verify(nn.Sequential(nn.GELU(), wrapped, GroupNorm(domain, 1, 3), nn.Identity()), field)
        assert report.ok and report.plain_layers == (), str(report)


class Mistaken(nn.Module):
    """One mistake of each kind, where asked for."""

    def __init__(self, domain, mistake):
        super().__init__()
        self.domain, self.mistake = domain, mistake
        self.weight = nn.Parameter(torch.ones(1, 2, 1, 1) * (1 + domain.comm.rank * (mistake == "value")))
        self.spare = nn.Parameter(torch.ones(3))

    def forward(self, x):
        world = self.domain.world_comm
        weight = self.weight if self.mistake == "parameter" else replicated(world, self.weight)[0]
        y = weight * x
        if self.mistake == "cell" and self.domain.block[0].stop == 13 and self.domain.block[1].stop == 12 and world.size > 1:
            spot = torch.zeros_like(y)
            spot[1, 0, -1, -2] = 1e-3
            y = y + spot
        if self.mistake == "shape" and world.rank == world.size - 1 > 0:
            y = y[..., 1:]
        if self.mistake == "gradient" and world.size > 1:
            y = y + (x - x.detach()) * 1e-3
        if self.mistake == "nan" and world.rank == world.size - 1 > 0:
            y = y / (y - y)
        return {"field": y, "size": global_sum(world, (y**2).sum())[0]} if self.mistake != "shape" else y


@MANY
@pytest.mark.parametrize(
    ("mistake", "quantity", "where"),
    [
        ("parameter", "gradient of weight", "rank"),
        ("value", "value of weight", "(0, 0, 0, 0) on rank"),
        ("cell", "output['field']", "(1, 0, 12, 10) on rank"),
        ("shape", "output", "shape (4, 2, "),
        ("gradient", "gradient of input", "on rank"),
        ("nan", "output['field']", "on rank"),
    ],
)
def test_a_mistake_is_found_where_it_is(comm, field, mistake, quantity, where):
    with decompose(Grid((13, 12)), comm) as domain:
        assert hpcml.verify(Mistaken(domain, None), field).ok
        report = hpcml.verify(Mistaken(domain, mistake), field)
        found = {c.quantity: c for c in report.comparisons if not c.agrees}
        assert quantity in found and where in found[quantity].where, str(report)
        if mistake in ("parameter", "shape", "gradient"):  # the others spoil what follows from them
            assert set(found) == {quantity}
        table = str(report)
        assert "NOT over ranks as on one" in table and quantity in table and f"process grid {domain.process_grid.dims}" in table


class TwoFields(nn.Module):
    """Two fields, a number for each sample, and no gradient for one output."""

    def __init__(self, domain):
        super().__init__()
        self.conv = Conv2d(domain, 2, 2, 3, padding=1)

    def forward(self, a, b, factor):
        return self.conv(a) * b, [a > b], factor * 2


@RANKS
def test_several_arguments_and_outputs(comm, field):
    with decompose(Grid((13, 12)), comm) as domain:
        report = hpcml.verify(TwoFields(domain), (field, field.cos(), torch.tensor(2.0)))
        assert report.ok, str(report)
        assert {"output[0]", "output[1][0]", "output[2]", "gradient of input 0", "gradient of input 1"} <= quantities(report)


@RANKS
def test_what_cannot_be_verified_is_named_on_every_rank(comm, field):
    with decompose(Grid((13, 12)), comm) as domain:
        with pytest.raises(ConfigError, match="no space"):
            hpcml.verify(nn.Conv2d(2, 2, 3), field)
        with pytest.raises(ShapeError, match="no argument has all points"):
            hpcml.verify(Net(domain), field[..., 1:, :])
        with pytest.raises(ShapeError, match="expected 2 channels"):
            hpcml.verify(Net(domain), field[:, :1])
        assert not hpcml.verify(nn.Conv2d(2, 2, 3, padding=1), field, space=domain).ok
    if comm.size > 1:
        with decompose(Grid((13, 12)), comm, data=comm.size) as domain, pytest.raises(ShapeError, match="data groups"):
            hpcml.verify(Net(domain), field[:1])


@RANKS
def test_a_domain_that_a_lambda_has_captured_is_named(comm, field):
    """On rank 0, which runs the model on the whole grid by itself, it would wait for ranks that do not come."""

    class Captured(nn.Module):
        def __init__(self, domain, halo):
            super().__init__()
            self.domain, self.halo = domain, halo

        def forward(self, x):
            return self.halo(x)

    with decompose(Grid((13, 12)), comm) as domain:
        layer = Conv2d(domain, 2, 2, 3, padding=1).double()
        for halo in (lambda x: domain.halo(x)[0][..., 2:, 1:-1], lambda x: layer(x), lambda x: global_sum(domain.comm, x.sum())[0]):
            with pytest.raises(ConfigError, match=r"met a domain of all ranks.*keep it as an attribute"):
                hpcml.verify(Captured(domain, halo), field)
            assert hpcml.verify(Net(domain), field).ok


@MANY
def test_another_dtype_over_ranks_is_wrong(comm, field):
    class Narrow(nn.Module):
        def __init__(self, domain):
            super().__init__()
            self.domain = domain

        def forward(self, x):
            return x.float() if self.domain.comm.size > 1 else x

    with decompose(Grid((13, 12)), comm) as domain:
        report = hpcml.verify(Narrow(domain), field)
        assert not report.ok and "torch.float32 instead of torch.float64" in str(report)
