"""Everything computes on the device of its domain: on torch's meta device a tensor that was made elsewhere cannot be computed with.

The lists derive from what the package exports, so that what is forgotten here fails.
"""

import itertools

import numpy as np
import pytest
import torch
from mpi4py import MPI
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hpcml import equations, models, solvers
from hpcml.core.options import Choice
from hpcml.core.registry import BUILT_IN, load
from hpcml.data.moments import moments
from hpcml.data.samples import Pairs
from hpcml.fields import Grid, decompose, difference, fft
from hpcml.graphs import Graph
from hpcml.models import layers
from hpcml.models.factory import build_network
from hpcml.models.physics_attention_net import ATTENTIONS
from hpcml.models.surrogate import Surrogate
from hpcml.solvers import NeuralSolver
from hpcml.training.relative_error import relative_errors
from hpcml.training.trainer import Trainer

META = torch.device("meta")
LOSSES = [load("loss", name) for name in BUILT_IN["loss"]]
KINDS = [Choice(name="fno", channels=4, modes=3), Choice(name="unet", channels=4, levels=2)]
SHAPES = {1: (16,), 2: (12, 16), 3: (8, 8, 12)}


class AllOnMeta(TorchDispatchMode):
    """Refuses every result that lies elsewhere, but for single numbers, which torch itself lets any device read."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.dim():
                assert tensor.device.type == "meta", f"{function} gives a tensor of shape {tuple(tensor.shape)} on {tensor.device}"
        return result


def domain_on_meta(num_dims, periodic=True):
    return decompose(Grid(SHAPES[num_dims], periodic=periodic), MPI.COMM_SELF, device="meta")


def conv(name, num_dims):
    layer = getattr(layers, name)
    each = [lambda d: layer(d, 2, 3, 3, padding=1)]
    if "Transpose" in name:
        return [*each, lambda d: layer(d, 2, 3, 4, stride=2, padding=1, periodic=True)]
    return [*each, lambda d: layer(d, 2, 3, 3, padding=1, padding_mode=["circular", "reflect", "zeros"][:num_dims])]


def pool(name):
    return [lambda d: getattr(layers, name)(d, 2, 1, 1), lambda d: getattr(layers, name)(d, 2, periodic=True)]


LAYERS = (
    {f"{kind}{n}d": (n, conv(f"{kind}{n}d", n)) for kind in ("Conv", "ConvTranspose") for n in (1, 2, 3)}
    | {f"{kind}{n}d": (n, pool(f"{kind}{n}d")) for kind in ("AvgPool", "MaxPool") for n in (1, 2, 3)}
    | {
        f"{kind}{n}d": (n, [lambda d, kind=kind, n=n: getattr(layers, f"{kind}{n}d")(d, 2, affine=True)])
        for kind in ("BatchNorm", "InstanceNorm")
        for n in (1, 2, 3)
    }
    | {
        "ChannelMLP": (2, [lambda d: layers.ChannelMLP(d, 2, 4)]),
        "Dropout": (2, [lambda d: layers.Dropout(d)]),
        "Ewald": (2, [lambda d, period=p: layers.Ewald(d, 2, 7.0, period) for p in (None, (1.0, 1.0))]),
        "GroupNorm": (2, [lambda d: layers.GroupNorm(d, 1, 2)]),
        "Interpolate": (
            2,
            [lambda d, p=p: layers.Interpolate(d, size=(7, 9), mode="bilinear", periodic=p) for p in (True, False)],
        ),
        "LatentAttention": (2, [lambda d: layers.LatentAttention(d, 2, 1, 3)]),
        "LayerNorm": (2, [lambda d: layers.LayerNorm(d, d.global_shape)]),
        "Pad": (2, [lambda d: layers.Pad(d, (1, 2, 0, 1), mode="reflect")]),
        "PhysicsAttention": (
            2,
            [lambda d, adaptive=a, window=w: layers.PhysicsAttention(d, 2, 2, 3, adaptive, window) for a in (True, False) for w in (1, 3)],
        ),
        "PixelShuffle": (2, [lambda d: layers.PixelShuffle(d, 2)]),
        "PixelUnshuffle": (2, [lambda d: layers.PixelUnshuffle(d, 2)]),
        "Pointwise": (2, [lambda d: layers.Pointwise(d, torch.nn.Linear(2, 3), channels_last=True)]),
        "Roll": (2, [lambda d: layers.Roll(d, (1, -2))]),
        "Slice": (2, [lambda d: layers.Slice(d, slice(1, 9), slice(None, None, 2))]),
        "SpectralConv": (2, [lambda d: layers.SpectralConv(d, 2, 3, 4)]),
    }
)


class Neighbors(torch.nn.Linear):
    """A layer of PyTorch Geometric, as far as it goes."""

    def forward(self, x, edge_index):
        return super().forward(x).index_add(0, edge_index[1], x[edge_index[0]])


GRAPH_LAYERS = {
    "EdgeIndexLayer": [lambda g: layers.EdgeIndexLayer(g, Neighbors(2, 2))],
    "GraphAttention": [lambda g: layers.GraphAttention(g, 2, 1), lambda g: layers.GraphAttention(g, 8, 2, rotary=1.0, gated=True)],
}
NO_LAYERS = {"coordinates", "roll"}  # functions, called by networks and by Roll


MODELS = {
    "FNO": [
        lambda d, norm=norm: models.FNO(d, 2, 2, channels=4, modes=3, layers=2, norm=norm)
        for norm in ("none", "instance", "group", "batch")
    ],
    "PhysicsAttentionNet": [
        lambda d, kind=kind: models.PhysicsAttentionNet(d, 2, 2, channels=4, layers=2, heads=2, slices=3, attention=kind, dropout=0.1)
        for kind in ATTENTIONS
    ],
    "UNet": [lambda d, norm=norm: models.UNet(d, 2, 2, channels=4, levels=2, norm=norm) for norm in ("group", "none")],
}
GRAPH_MODELS = {
    "MeshGraphNet": lambda g: models.MeshGraphNet(g, 2, 2, channels=4, steps=2, cutoff=7.0, period=(1.0, 1.0)),
    "GraphMixer": lambda g: models.GraphMixer(g, 2, 2, 4, 2, patches=2),
    "MeshTransformer": lambda g: models.MeshTransformer(g, 2, 2, 8, 2, heads=2, tokens=1, rotary=1.0, gated=True, cutoff=7.0),
    **{f"PhysicsAttentionNet {k}": make for k, make in enumerate(MODELS["PhysicsAttentionNet"])},
}
ON_THE_HOST = {"ParticleNet"}  # finds by numbers who is near
WITHOUT_EXACT = {"KuramotoSivashinsky"}
"""Equations of which no solution is known in closed form."""
EQUATIONS = {
    "AdvectionDiffusion": 2,
    "Burgers": 2,
    "Darcy": 2,
    "GrayScott": 2,
    "Heat": 3,
    "KuramotoSivashinsky": 1,
    "NavierStokes": 2,
    "ShallowWater": 2,
    "Wave": 1,
}
ARGUMENTS = {"AdvectionDiffusion": ((1.0, -0.5),), "NavierStokes": (1e-3, 0.1, 0.1), "GrayScott": (1e-5, 1.6e-5, 0.05, 0.03)}


def run(module, domain, channels=2):
    """Forward and backward, of everything that wants a gradient."""
    x = torch.empty(domain.field_shape(2, channels), device=META, requires_grad=True)
    module(x).square().sum().backward()  # makes the tables that are kept, where it likes
    with AllOnMeta():
        y = module(x)
        y.square().sum().backward()
    assert y.device == x.grad.device == META
    parameters = module.parameters() if isinstance(module, torch.nn.Module) else ()
    assert all(p.grad.device == META for p in parameters)


def test_every_layer():
    assert set(LAYERS) | set(GRAPH_LAYERS) == set(layers.__all__) - NO_LAYERS
    for name, (num_dims, makers) in LAYERS.items():
        for make in makers:
            with domain_on_meta(num_dims) as domain:
                layer = make(domain)
                run(layer, domain, 8 if name == "PixelShuffle" else 2)


def test_every_model():
    offered = {name for name in models.__all__ if isinstance(getattr(models, name), type)} - ON_THE_HOST
    assert set(MODELS) | {name.partition(" ")[0] for name in GRAPH_MODELS} == offered
    for makers in MODELS.values():
        for make, periodic in itertools.product(makers, (True, False)):
            with domain_on_meta(2, periodic) as domain:
                run(make(domain), domain)


def test_every_model_on_a_graph_and_what_graphs_offer():
    begins, ends = np.arange(5), (np.arange(5) + 2) % 6
    with Graph.deal(np.eye(6)[:, :2], np.stack([begins, ends]), MPI.COMM_SELF, device=META) as graph:
        for make in GRAPH_MODELS.values():
            run(make(graph), graph)
        for make in (make for makers in GRAPH_LAYERS.values() for make in makers):
            layer = make(graph)
            run(layer, graph, next(layer.parameters()).shape[1])
        for how in ("sum", "mean", "max"):
            run(lambda x, how=how: graph.aggregate(graph.at_begins(x) * graph.softmax(graph.at_ends(x)), how), graph)


def test_every_loss():
    for loss, periodic in itertools.product(LOSSES, (True, False)):
        with domain_on_meta(2, periodic) as domain:
            run(lambda x, loss=loss, domain=domain: loss(domain, x, torch.zeros_like(x)), domain)


@pytest.mark.parametrize("gradient", [True, False], ids=["gradient", "no gradient"])
def test_every_equation_and_its_solver(gradient):
    """A tendency and a step, from an initial state and an exact one.

    Left out is `stable_step`, a number of Python that every step is compared with, and with it `step`, which is these three; Darcy's
    solver iterates until numbers say that it is done, and so does that of flows on triangles, which are measured on the host.
    """
    offered = {name: getattr(equations, name) for name in equations.__all__}
    kinds = {name for name, kind in offered.items() if isinstance(kind, type) and not kind.on_mesh} - {"Equation"}
    assert set(EQUATIONS) == kinds
    for name, num_dims in EQUATIONS.items():
        equation = getattr(equations, name)(*ARGUMENTS.get(name, ()))
        with domain_on_meta(num_dims, periodic=name != "Darcy") as domain, torch.set_grad_enabled(gradient):
            states = [equation.initial_state(domain, range(2))]
            if name not in WITHOUT_EXACT:
                states.append(equation.exact(domain, 0.1))
            for state in states:
                assert state.device == META
                with AllOnMeta():
                    equation.tendency(state.requires_grad_(gradient), domain)
                if name != "Darcy":
                    solver = solvers.build_solver(equation, domain, 1e-3)
                    with AllOnMeta():
                        solver.leave(solver.advance(solver.enter(state)))


def test_differences_and_transforms():
    with domain_on_meta(2) as domain, AllOnMeta():
        u = torch.empty(2, 2, *domain.local_shape, device=META, requires_grad=True)
        for operator in (difference.laplacian, difference.divergence):
            operator(u, domain, order=4).sum().backward()
        fft.irfftn(domain, fft.wavenumbers(domain)[0] * fft.rfftn(domain, u)).sum().backward()
        assert domain.gather(u).device == domain.scatter(u).device == domain.global_index((2,)).device == META


def test_a_training_step():
    """As a case describes it, but for the one look at loss and norm in every update, and torch's fused passes over parameters."""
    for kind, loss in itertools.product(KINDS, LOSSES):
        with domain_on_meta(2) as domain:
            network = build_network(kind, domain, 2, 2)
            model = Surrogate(network, 2, 2, residual=True).to(META)
            fields = torch.zeros(4, 2, *domain.local_shape)  # on the host, as files give them
            pairs = Pairs(domain, fields, fields)
            model.fit_to(moments(domain, torch.empty_like(fields, device=META)), moments(domain, fields))
            trainer = Trainer(model, pairs, loss=loss, batch_size=4, clip=1.0)
            (parts,) = trainer.stream
            for _ in range(2):
                assert trainer.update.gradient(parts).device == META
                trainer.optimiser.step()
            with torch.no_grad():
                ((x, y, _),) = parts
                assert relative_errors(domain, NeuralSolver(model, domain).step(x), y).device == META
