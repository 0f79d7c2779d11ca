"""Convolution on many ranks is torch's on one."""

import pytest
import torch
from torch import nn

import hpcml.models.layers as layers
from hpcml.core.errors import ShapeError, TopologyError
from hpcml.fields import Grid, decompose
from hpcml.parallel.exchange import traffic

SIZES = [1, 2, 3, 4]
SHAPES = {1: (13,), 2: (11, 8), 3: (7, 6, 8)}
MODES = ["zeros", "circular", "reflect", "replicate"]
CASES = {
    "pointwise": dict(kernel_size=1),
    "centred": dict(kernel_size=3, padding=1),
    "valid": dict(kernel_size=3, padding="valid"),
    "same-even": dict(kernel_size=4, padding="same"),
    "strided": dict(kernel_size=3, stride=2, padding=1),
    "strided-even": dict(kernel_size=2, stride=2),
    "gaps": dict(kernel_size=1, stride=2),
    "dilated": dict(kernel_size=3, dilation=2, padding=2),
    "wide": dict(kernel_size=5, padding=4, stride=3),
    "groups": dict(kernel_size=3, padding=1, groups=2, bias=False),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")  # torch's, of its own copy
@pytest.mark.parallel(SIZES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("num_dims", SHAPES)
def test_equals_the_serial_layer(check, num_dims, case, mode):
    arguments = dict(in_channels=2, out_channels=4, padding_mode=mode, dtype=torch.float64, **CASES[case])
    name = f"Conv{num_dims}d"
    check(SHAPES[num_dims], lambda domain: getattr(layers, name)(domain, **arguments), getattr(nn, name)(**arguments), channels=2)


@pytest.mark.parallel([2, 3])
@pytest.mark.parametrize("num_dims", SHAPES)
@pytest.mark.parametrize("case", [c for c in CASES if c != "groups"])
def test_few_channels_in_single_precision(comm, num_dims, case):
    """The gradient of the input may come from a forward convolution, see `Convolution`."""
    arguments = dict(in_channels=2, out_channels=3, **CASES[case])
    shape, name = SHAPES[num_dims], f"Conv{num_dims}d"
    with decompose(Grid(shape), comm, dims=(comm.size, *(1,) * (num_dims - 1))) as domain:
        layer, serial = getattr(layers, name)(domain, **arguments), getattr(nn, name)(**arguments)
        serial.load_state_dict(layer.state_dict())
        torch.manual_seed(0)
        whole = torch.randn(2, 2, *shape, requires_grad=True)
        block = whole.detach()[domain.index].clone().requires_grad_()
        expected = torch.autograd.grad((serial(whole) ** 2).sum(), [whole, *serial.parameters()])
        ours = torch.autograd.grad((layer(block) ** 2).sum(), [block, *layer.parameters()])
        for mine, its in zip(ours, (expected[0][domain.index], *expected[1:]), strict=True):
            assert float((mine - its).abs().max()) <= 1e-5 * float(its.abs().max())  # the bar of float32


@pytest.mark.parallel([2, 3, 4, 6])
def test_every_dim_may_differ(check):
    arguments = dict(kernel_size=(2, 5), stride=(2, 1), padding=(0, 3), dilation=(3, 1), dtype=torch.float64)
    check((12, 9), lambda domain: layers.Conv2d(domain, 1, 2, **arguments), nn.Conv2d(1, 2, **arguments))


@pytest.mark.parallel([2, 3, 4])
def test_a_halo_wider_than_a_block(check):
    arguments = dict(kernel_size=9, padding=4, padding_mode="circular", dtype=torch.float64)
    check((9,), lambda domain: layers.Conv1d(domain, 1, 2, **arguments), nn.Conv1d(1, 2, **arguments))


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_second_derivatives(comm, mode):
    """Gradients of |d/dx sum tanh(conv x)|^2, as a physics loss has them."""

    def physics_gradients(layer, x, total):
        (slope,) = torch.autograd.grad(layer(x).tanh().sum(), x, create_graph=True)
        loss = (slope**2).sum() + (layer(x) ** 3).sum()
        assert total is None or total(loss) > 0
        return torch.autograd.grad(loss, [x, *layer.parameters()])

    with decompose(Grid((8, 7)), comm) as domain:
        arguments = dict(kernel_size=3, padding=1, padding_mode=mode, dtype=torch.float64)
        layer = layers.Conv2d(domain, 2, 3, **arguments)
        serial = nn.Conv2d(2, 3, **arguments)
        serial.load_state_dict(layer.state_dict())
        torch.manual_seed(1)
        whole = torch.randn(2, 2, 8, 7, dtype=torch.float64, requires_grad=True)
        block = whole.detach()[domain.index].clone().requires_grad_()
        ours, theirs = physics_gradients(layer, block, None), physics_gradients(serial, whole, None)
        torch.testing.assert_close(ours[0], theirs[0][domain.index], rtol=1e-12, atol=1e-11)  # sums of some hundred terms of size 10
        for mine, its in zip(ours[1:], theirs[1:], strict=True):
            torch.testing.assert_close(mine, its, rtol=1e-12, atol=1e-11)


@pytest.mark.parallel([1, 2, 3])
def test_initial_parameters_are_rank_zeros(comm):
    with decompose(Grid((6,)), comm) as domain:
        torch.manual_seed(comm.rank)
        layer = layers.Conv1d(domain, 2, 3, 3)
        torch.manual_seed(0)
        assert torch.equal(layer.weight, nn.Conv1d(2, 3, 3).weight)


@pytest.mark.parallel([2, 4])
def test_groups_of_ranks_share_one_gradient(comm):
    """Two data groups: the gradient is the sum over both."""
    with decompose(Grid((8,)), comm, data=2) as domain:
        layer = layers.Conv1d(domain, 1, 1, 3, padding=1, dtype=torch.float64)
        whole = torch.arange(16, dtype=torch.float64).view(2, 1, 8)
        layer(whole[domain.data_index : domain.data_index + 1][domain.index]).sum().backward()
        serial = nn.Conv1d(1, 1, 3, padding=1, dtype=torch.float64)
        serial(whole).sum().backward()
        torch.testing.assert_close(layer.weight.grad, serial.weight.grad, rtol=1e-12, atol=0)


@pytest.mark.parallel([2, 4])
def test_complex_fields(check):
    arguments = dict(kernel_size=3, padding=1, padding_mode="circular", dtype=torch.complex128)
    build = lambda domain: _Complex(layers.Conv2d(domain, 1, 2, **arguments))  # noqa: E731
    check((8, 6), build, _Complex(nn.Conv2d(1, 2, **arguments)))


class _Complex(nn.Module):
    """A real field in and out."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.domain_out = getattr(layer, "domain_out", None)

    def forward(self, x):
        return self.layer(torch.complex(x, 2 * x)).imag


@pytest.mark.parallel([2, 3])
def test_one_message_per_neighbor_and_none_without_a_halo(comm):
    with decompose(Grid((6 * comm.size, 4)), comm, dims=(comm.size, 1)) as domain:
        x = torch.zeros(1, 2, *domain.local_shape)
        halo, pointwise, aligned = (layers.Conv2d(domain, 2, 3, *k) for k in ((3, 1, 1), (1,), (2, 2)))
        traffic.reset()
        halo(x)
        neighbors = (domain.process_grid.coords[0] > 0) + (domain.process_grid.coords[0] < comm.size - 1)
        assert (traffic.messages, traffic.bytes) == (neighbors, neighbors * 2 * 4 * 4)
        traffic.reset()
        pointwise(x)
        aligned(x)
        assert traffic.messages == 0


@pytest.mark.parallel([1, 2])
def test_mistakes_are_named_on_every_rank(comm):
    with decompose(Grid((6, 6)), comm) as domain:
        with pytest.raises(ShapeError, match="Conv1d works on fields of 1 dims"):
            layers.Conv1d(domain, 1, 1, 3)
        with pytest.raises(ShapeError, match="no output"):
            layers.Conv2d(domain, 1, 1, 7)
        with pytest.raises(ShapeError, match="reflect padding of 6 cells along dim 0 of 6"):
            layers.Conv2d(domain, 1, 1, 3, padding=6, padding_mode="reflect")
        with pytest.raises(ShapeError, match="expected its block"):
            layers.Conv2d(domain, 1, 1, 3)(torch.zeros(1, 1, 7, 6))
        if comm.size > 1:
            with pytest.raises(TopologyError, match="own none"):
                layers.Conv2d(domain, 1, 1, 6)
