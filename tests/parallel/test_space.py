"""What needs no grid serves a list of points, dealt unevenly to ranks of which one has none, as it serves a grid: as on one rank."""

import copy
from functools import cached_property

import pytest
import torch
from torch import nn

import hpcml
from hpcml.core.errors import CheckpointError, ConfigError, ShapeError
from hpcml.data.moments import moments
from hpcml.data.samples import Pairs
from hpcml.models.layers import BatchNorm1d, ChannelMLP, Dropout, GroupNorm, InstanceNorm1d, LayerNorm, Pointwise
from hpcml.models.surrogate import Surrogate
from hpcml.parallel.decomposition import Decomposition
from hpcml.parallel.space import Space
from hpcml.training import Trainer
from hpcml.training.loss import mse, relative_l2
from hpcml.training.relative_error import relative_errors

NUM_POINTS, CHANNELS = 13, 4
EXACT = {"rtol": 1e-12, "atol": 1e-13}  # float64: the same sums in another order
RANKS = pytest.mark.parallel([1, 2, 3, 4])


class Points(Space):
    """A list of points in no order; its fields are ([sample,] point, channel). With three ranks or more the second has none."""

    channel_dim = -1

    def __init__(self, shared, num_points=NUM_POINTS):
        size, rank = shared.comm.size, shared.comm.rank
        owner = torch.randint(size + 1, (num_points,), generator=torch.Generator().manual_seed(size)) % size
        owner[owner == 1] = 0 if size > 2 else 1
        self._points = (owner == rank).nonzero()[:, 0]
        super().__init__(shared, ("points", num_points), (len(self._points),), (num_points,))

    @property
    def index(self):
        return (..., self._points, slice(None))

    @property
    def point_index(self):
        return self._points

    @cached_property
    def _serial(self):
        return Points(Decomposition.alone(self.device), *self.global_shape)

    def serial(self):
        return self._serial


@pytest.fixture(params=[1, 2], ids=["one group", "two groups"])
def points(comm, request):
    torch.manual_seed(0)
    data = request.param if comm.size % request.param == 0 else 1
    with Points(Decomposition.of(comm, data)) as space:
        yield space


def network(space):
    return nn.Sequential(
        Pointwise(space, nn.LayerNorm(CHANNELS)),
        ChannelMLP(space, CHANNELS, 8),
        BatchNorm1d(space, CHANNELS),
        Dropout(space, 0.25),
        InstanceNorm1d(space, CHANNELS, affine=True),
        LayerNorm(space, (CHANNELS, NUM_POINTS)),
        GroupNorm(space, 2, CHANNELS),
        ChannelMLP(space, CHANNELS, out_channels=2),
    ).double()


@RANKS
@pytest.mark.parametrize("samples", [(4,), ()], ids=["samples", "no dim of samples"])
def test_layers_compute_on_points_what_they_compute_on_one_rank(points, samples):
    model = network(points)
    for layer in model[5].parameters():  # a number for every point and channel
        layer.data += torch.randn(layer.shape, dtype=torch.float64)
    x = torch.randn(*samples, NUM_POINTS, CHANNELS, dtype=torch.float64)
    if points.num_data > 1 and not samples:
        with pytest.raises(ShapeError, match="cannot be shared by 2 data groups"):
            hpcml.verify(model, x)
        return
    report = hpcml.verify(model, x)
    assert report.ok, str(report)


@RANKS
def test_a_layer_that_takes_its_points_for_all_is_found(points):
    class Centred(nn.Module):
        def __init__(self):
            super().__init__()
            self.space = points

        def forward(self, x):
            return x - x.mean(-2, keepdim=True)

    assert hpcml.verify(Centred(), torch.randn(4, NUM_POINTS, 2)).ok == (points.comm.size == 1)


@RANKS
def test_losses_statistics_and_errors_are_of_all_points(points):
    whole = torch.randn(2, 4, NUM_POINTS, 3, dtype=torch.float64)
    mine = slice(2 * points.data_index, 2 * points.data_index + 2) if points.num_data == 2 else slice(None)
    prediction, target = whole[:, mine][points.index].requires_grad_().unbind()
    one = whole.clone().requires_grad_()
    flat = one[0].flatten(1), one[1].flatten(1)
    expected = {mse: nn.functional.mse_loss(*one), relative_l2: ((flat[0] - flat[1]).norm(dim=1) / flat[1].norm(dim=1)).mean()}
    for loss, value in expected.items():
        found = loss(points, prediction, target)
        torch.testing.assert_close(found, value, **EXACT)
        (ours,) = torch.autograd.grad(found, prediction)
        theirs = torch.autograd.grad(value, one)[0][0]
        torch.testing.assert_close(ours, theirs[mine][points.index], **EXACT)
    errors = (flat[0] - flat[1]).norm(dim=1) / flat[1].norm(dim=1)
    torch.testing.assert_close(relative_errors(points, prediction, target), errors[mine], **EXACT)
    std, mean = torch.std_mean(whole[0], (0, 1), correction=0)
    torch.testing.assert_close(moments(points, whole[0][points.index]), (mean, std), **EXACT)
    with pytest.raises(ShapeError, match=r"batch,\] \*\(\d+,\), channel"):
        mse(points, prediction[..., :1], target)


def trained(space, state):
    torch.manual_seed(1)
    x = torch.randn(12, NUM_POINTS, CHANNELS, dtype=torch.float64)
    pairs = Pairs.of_whole(space, x, torch.stack([x.sum(-1), x.prod(-1)], -1))
    model = Surrogate(network(space), CHANNELS, 2).double()
    model.load_state_dict(state or model.state_dict())
    model.fit_to(moments(space, pairs.inputs), moments(space, pairs.targets))
    initial = copy.deepcopy(model.state_dict())
    descent = torch.optim.SGD(model.parameters(), lr=0.01)  # Adam would move a bias before a norm by the sign of round-off
    run = Trainer(model, pairs, pairs, optimiser=descent, epochs=2, batch_size=6, learning_rate=0.01)
    return initial, run.fit(), model.state_dict()


@RANKS
def test_training_ends_where_one_rank_ends(points):
    initial, loss, values = trained(points, None)
    _, expected, alone = trained(points.serial(), initial)
    assert loss == pytest.approx(expected, rel=1e-10)
    for name, value in alone.items():
        torch.testing.assert_close(values[name], value, msg=name, **EXACT)


@pytest.mark.parallel([2])
def test_a_space_tells_what_it_is_not(points):
    pairs = Pairs.none(points, (1, 1))
    with pytest.raises(ConfigError, match="on a grid, got fields on a Points"):
        _ = pairs.domain
    with pytest.raises(CheckpointError, match=r"points.*cannot be pickled"):
        copy.copy(points)
    with pytest.raises(ShapeError, match="InstanceNorm1d expected 4 channels, got 3"):
        InstanceNorm1d(points, 4)(torch.zeros(2, *points.local_shape, 3))
