"""A perceptron block by block gives what torch gives at once, with gradients of any order, and keeps what it is given alone."""

import pytest
import torch
from torch import nn

from hpcml.graphs.aggregation import Taken
from hpcml.kernels.segment import Edges
from hpcml.models.layers import row_mlp as module
from hpcml.models.layers.row_mlp import row_mlp

ROWS, CHANNELS = 23, 6
ROUNDING = {"rtol": 1e-12, "atol": 1e-13}  # sums over blocks, in another order


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(module, "CELLS", 5 * CHANNELS)


def perceptron(norm=True):
    torch.manual_seed(0)
    layers = [nn.Linear(2 * CHANNELS, CHANNELS), nn.ReLU(), nn.Linear(CHANNELS, CHANNELS), nn.ReLU(), nn.Linear(CHANNELS, CHANNELS)]
    mlp = nn.Sequential(*layers, *([nn.LayerNorm(CHANNELS)] if norm else [])).double()
    for parameter in mlp[-1].parameters():
        nn.init.normal_(parameter)
    return mlp


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("samples", [(), (3,)], ids=["one", "samples"])
def test_it_is_what_torch_computes_at_once(norm, residual, samples):
    mlp = perceptron(norm)
    x, y, added, values = draw(ROWS, CHANNELS), draw(*samples, ROWS, CHANNELS), draw(*samples, ROWS, CHANNELS), draw(*samples, 7, CHANNELS)
    places = torch.randint(7, (ROWS,))
    rows = Edges.between(places, torch.arange(ROWS), 7, ROWS)
    cotangent = torch.randn(*samples, ROWS, CHANNELS, dtype=torch.float64)

    def blocked():
        columns = mlp[0].weight.chunk(2, 1)
        return row_mlp(mlp, list(zip((x, y), columns, strict=True)), [added, Taken(values, rows)], residual)

    def at_once():
        first = mlp[0](torch.cat([x.expand_as(y), y], -1)) + added + values[..., places, :]
        return mlp[1:](first) + (x if residual else 0)

    given, found = [x, y, added, values, *mlp.parameters()], []
    for compute in (blocked, at_once):
        (slope,) = torch.autograd.grad((compute() * cotangent).sum(), x, create_graph=True)  # a gradient in the loss
        second = torch.autograd.grad(slope.square().sum(), given, allow_unused=True, materialize_grads=True)
        found.append([compute(), *torch.autograd.grad((compute() * cotangent).sum(), given), slope, *second])
    for mine, expected in zip(*found, strict=True):
        scale = expected.detach().abs().max().clamp(min=1)
        torch.testing.assert_close(mine / scale, expected / scale, **ROUNDING)
    with torch.no_grad():
        torch.testing.assert_close(blocked(), found[1][0], **ROUNDING)


def test_no_rows_and_inputs_without_a_gradient():
    mlp, weight = perceptron(), torch.ones(CHANNELS, CHANNELS, dtype=torch.float64)
    row_mlp(mlp, [(torch.zeros(0, CHANNELS, dtype=torch.float64), weight)]).sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in mlp[1:].parameters())
    row_mlp(mlp, [(torch.ones(9, CHANNELS, dtype=torch.float64), weight)]).square().sum().backward()
    assert all(p.grad.any() for p in mlp[-1].parameters())


def test_it_keeps_what_it_is_given():
    mlp, kept = perceptron(), []
    x, added = draw(400, CHANNELS), draw(400, CHANNELS)
    with torch.autograd.graph.saved_tensors_hooks(lambda saved: kept.append(saved) or saved, lambda saved: saved):
        row_mlp(mlp, [(x, mlp[0].weight[:, :CHANNELS])], [added], residual=True)
    large = {saved.data_ptr() for saved in kept if saved.numel() > 200 * CHANNELS}
    assert large == {x.data_ptr(), added.data_ptr()}


def test_derivatives_go_forward_and_over_samples_at_once():
    mlp = perceptron()
    x, along = draw(ROWS, CHANNELS).detach(), draw(ROWS, CHANNELS).detach()

    def compute(x):
        return row_mlp(mlp, [(x, mlp[0].weight[:, :CHANNELS])], residual=True)

    y, slope = torch.func.jvp(compute, (x,), (along,))
    near = (compute(x + 1e-6 * along) - compute(x - 1e-6 * along)) / 2e-6
    torch.testing.assert_close(y, compute(x), **ROUNDING)
    torch.testing.assert_close(slope, near, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(torch.func.vmap(compute)(torch.stack([x, along])), torch.stack([compute(x), compute(along)]), **ROUNDING)


def test_under_autocast_it_is_torchs():
    mlp = perceptron().float()
    x = torch.randn(ROWS, CHANNELS)
    with torch.autocast("cpu", torch.bfloat16):
        weight = mlp[0].weight[:, :CHANNELS]
        expected = x + mlp[1:](nn.functional.linear(x, weight, mlp[0].bias))
        assert torch.equal(row_mlp(mlp, [(x, weight)], residual=True), expected)
