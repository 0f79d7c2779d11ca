"""Fields of 16 bits: the error is at most 1.5 times torch's own on one rank, the dtype is torch's; under autocast too."""

import contextlib
import copy

import pytest
import torch
from mpi4py import MPI
from torch import nn

from hpcml.fields import Grid, decompose
from hpcml.models import FNO, UNet, layers
from tests.models.twins import NODES, deal, mesh

RANKS = pytest.mark.parallel([1, 2, 4])
HALF = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
AUTOCAST = pytest.mark.parametrize("autocast", [False, True], ids=["whole", "autocast"])
WORSE = 1.5  # the bar: rounding once more than torch, or summing what was rounded, is worse
SHAPE, CHANNELS = (35, 26), 8  # uneven on 2 and 4 ranks


def torchs(name, *args, **kwargs):
    theirs = nn.Upsample if name == "Interpolate" else getattr(nn, name)
    return (lambda domain: getattr(layers, name)(domain, *args, **kwargs)), (lambda: theirs(*args, **kwargs))


class CellwiseMLP(nn.Module):
    """What `layers.ChannelMLP` is, of torch's layers."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv1d(CHANNELS, 16, 1), nn.Conv1d(16, 4, 1)])

    def forward(self, x):
        return self.layers[1](nn.functional.gelu(self.layers[0](x.flatten(2)))).unflatten(2, x.shape[2:])


CASES = {
    "conv": torchs("Conv2d", CHANNELS, 8, 3, padding=1, padding_mode="circular"),
    "wide conv": torchs("Conv2d", CHANNELS, 4, 7, stride=2, padding=3),
    "matrix": torchs("Conv2d", CHANNELS, 4, 1),
    "transposed": torchs("ConvTranspose2d", CHANNELS, 4, 4, 2, 1),
    "average": torchs("AvgPool2d", 3, 2, 1),
    "max": torchs("MaxPool2d", 3, 2, 1),
    "bilinear": torchs("Interpolate", size=(43, 16), mode="bilinear"),
    "bicubic": torchs("Interpolate", scale_factor=2, mode="bicubic"),
    "area": torchs("Interpolate", size=(6, 5), mode="area"),
    "nearest": torchs("Interpolate", scale_factor=2),
    "group": torchs("GroupNorm", 2, CHANNELS),
    "batch": torchs("BatchNorm2d", CHANNELS),
    "instance": torchs("InstanceNorm2d", CHANNELS, affine=True, track_running_stats=True),
    "layer": torchs("LayerNorm", (CHANNELS, *SHAPE)),
    "mlp": ((lambda domain: layers.ChannelMLP(domain, CHANNELS, 16, 4)), CellwiseMLP),
}


def run(layer, x, cotangent, index, autocast):
    """Output, gradients and running statistics."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", autocast) if autocast else contextlib.nullcontext():
        y = layer(x)
    y.backward(cotangent[index].to(y.dtype))
    statistics = {name: b for name, b in layer.named_buffers() if b.is_floating_point()}
    return {"output": y.detach(), "input": x.grad} | {name: p.grad for name, p in layer.named_parameters()} | statistics


def errors(comm, got, exact, field):
    """Largest and mean square error, of blocks over all ranks."""
    difference = (got.to(exact.dtype) - exact).abs().nan_to_num(torch.inf)
    largest, square = float(difference.max()), float(difference.square().sum())
    return (comm.allreduce(largest, MPI.MAX), comm.allreduce(square) ** 0.5) if field else (largest, square**0.5)


def compare(comm, grid, channels, ours, theirs, dtype, autocast, batch=2):
    """For every quantity: its size, torch's largest and root mean square error on one rank, and ours."""
    torch.manual_seed(1)
    serial = theirs()
    with torch.no_grad():
        for p in serial.parameters():
            p.copy_(torch.randn(p.shape) * (0.2 if p.dim() > 1 else 1))
    x = (2 * torch.randn(batch, channels, *grid.shape) + 1).to(dtype)
    serial = serial if autocast else serial.to(dtype)
    exact = copy.deepcopy(serial).double()
    cotangent = (0.5 + torch.randn(copy.deepcopy(exact)(x.double()).shape)).to(dtype)
    with decompose(grid, comm) as domain:
        layer = ours(domain) if autocast else ours(domain).to(dtype)
        layer.load_state_dict(serial.state_dict())
        where = {"output": getattr(layer, "domain_out", domain).index, "input": domain.index}
        got = run(layer, x[domain.index], cotangent, where["output"], autocast and dtype)
    torchs_own, truth = (
        run(m, *a, ..., c) for m, a, c in ((serial, (x, cotangent), autocast and dtype), (exact, (x.double(), cotangent.double()), False))
    )
    found = {}
    for name, value in got.items():
        index = where.get(name, ...)
        assert value.dtype == torchs_own[name].dtype, name
        one, many = errors(MPI.COMM_SELF, torchs_own[name], truth[name], False), errors(comm, value, truth[name][index], name in where)
        found[name] = float(truth[name].abs().max()), one, many
    return found


def assert_as_good_as_torch(*args, **kwargs):
    for name, (size, one, many) in compare(*args, **kwargs).items():
        # What either computes in float32 has no error of 16 bits to compare.
        assert all(b <= max(WORSE * a, 1e-5 * size) for a, b in zip(one, many, strict=True)), (name, size, one, many)


@RANKS
@HALF
@AUTOCAST
@pytest.mark.parametrize("case", CASES)
def test_a_layer_is_as_good_as_torchs(comm, case, dtype, autocast):
    assert_as_good_as_torch(comm, Grid(SHAPE), CHANNELS, *CASES[case], dtype, autocast)


@RANKS
@HALF
@pytest.mark.parametrize(
    ("name", "args"), [("GroupNorm", (1, 1)), ("BatchNorm2d", (1,)), ("InstanceNorm2d", (1,)), ("LayerNorm", (263, 251))], ids=str
)
def test_norms_count_more_cells_than_float16_can(comm, name, args, dtype):
    args = (args,) if name == "LayerNorm" else args
    assert_as_good_as_torch(comm, Grid((263, 251)), 1, *torchs(name, *args), dtype, False, batch=1)


@RANKS
@HALF
@AUTOCAST
@pytest.mark.parametrize("network", ["FNO", "UNet"])
def test_a_network_is_as_good_as_itself_on_one_rank(comm, network, dtype, autocast):
    def build(domain):
        torch.manual_seed(0)
        if network == "FNO":
            return FNO(domain, 2, 1, channels=8, modes=4, layers=2, norm="group")
        return UNet(domain, 2, 1, channels=4, levels=2)

    with decompose(Grid((18, 16), periodic=(True, False)), MPI.COMM_SELF) as alone:
        found = compare(comm, alone.grid, 2, build, lambda: build(alone), dtype, autocast)
    # The error of one bias after several layers is a random walk's; what all steps together do to the network is not.
    parts = {"output": ["output"], "input": ["input"], "parameters": [name for name in found if name not in ("output", "input")]}
    for part, names in parts.items():
        one, many = (sum((found[name][k][1] / found[name][0]) ** 2 for name in names) ** 0.5 for k in (1, 2))
        assert many <= WORSE * one, (part, one, many)


def with_tokens(graph):
    """An attention along edges whose tokens come back to the nodes."""
    model = nn.Module()
    model.layer, model.tokens = layers.GraphAttention(graph, 16, 2, rotary=2.0, gated=True), nn.Parameter(torch.randn(1, 3, 16))

    def forward(x):
        y, tokens = model.layer(x, model.tokens)
        return y + tokens.mean(1, keepdim=True) if graph.tiles is None else y  # on tiles what is the same on all ranks is used tile by tile

    model.forward = forward
    return model


ON_GRAPHS = {
    "edges": lambda graph: layers.GraphAttention(graph, 16, 2, rotary=2.0),
    "tokens": with_tokens,
    "waves": lambda graph: layers.Ewald(graph, 16, 9.0),
    "slices": lambda graph: layers.PhysicsAttention(graph, 16, 4, 8, adaptive=True).eval(),
    "latents": lambda graph: layers.LatentAttention(graph, 16, 2, 8),
}


@RANKS
@pytest.mark.parametrize("tiles", [False, True], ids=["", "tiles"])
@pytest.mark.parametrize("name", ON_GRAPHS)
def test_an_attention_of_16_bits_is_as_good_over_ranks_as_on_one(comm, name, tiles):
    """All of it in bfloat16, parameters too: compared with itself in float64."""

    def outputs(ranks, dtype):
        with deal(ranks, *mesh(), same_bits=tiles) as graph:
            torch.manual_seed(0)
            model = ON_GRAPHS[name](graph).to(torch.bfloat16).to(dtype)
            whole = torch.randn(1, NODES, 16, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16).to(dtype)
            x = whole[graph.index].requires_grad_()
            y = model(x)
            y.square().sum().backward()
            assert y.dtype == x.grad.dtype == dtype
            return y.detach().double(), x.grad.double(), graph.nodes

    (*many, mine), (*one, order) = outputs(comm, torch.bfloat16), outputs(MPI.COMM_SELF, torch.bfloat16)
    exact = outputs(MPI.COMM_SELF, torch.float64)[:2]
    place = torch.argsort(order)  # of tiles nodes lie in another order than that of their numbers
    for ours, alone, truth in zip(many, one, exact, strict=True):
        squares = comm.allreduce(float((ours - truth[:, place][:, mine]).square().sum())), float((alone - truth).square().sum())
        assert 0 < squares[0] <= WORSE**2 * squares[1] and squares[1] <= 0.05**2 * float(truth.square().sum())  # some roundings of 1/256
