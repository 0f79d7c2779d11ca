"""Public calls of hpcml that communicate, each as something that a rank can skip, repeat, or make out of order: what is differentiable.

A call is made of a `Setting`, by all ranks alike, and then takes no arguments. `test_disorder.py` finds what is missing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mpi4py import MPI

from hpcml import Grid, decompose, equations, parallel
from hpcml.fields import difference, fft
from hpcml.fields.low_modes import low_modes
from hpcml.graphs import Cloud, Graph, MeshGraph, Nearest, Overlapped, PartitionReport, Stale, Within, on_edges, partition, structured
from hpcml.models import FNO, GraphMixer, MeshGraphNet, MeshTransformer, ParticleNet, PhysicsAttentionNet, UNet, layers
from hpcml.models.replicas import broadcast_parameters
from hpcml.training import loss
from hpcml.training.pipelining import pipeline

SIDES = {1: (11,), 2: (22, 22), 3: (6, 6, 6)}
"""Cells by number of dims, such that on 2, 3 and 4 ranks the last one has a part in whatever moves cells."""


@dataclass
class Setting:
    """What the calls of one case are made of: ranks of their own, and an empty folder."""

    comm: MPI.Intracomm
    folder: Path
    domains: dict[Any, Any] = field(default_factory=dict)
    afterwards: list[Callable[[], None]] = field(default_factory=list)  # what waits for what calls have sent, as a program does in the end

    def domain(self, dims=2, data=1):
        if (dims, data) not in self.domains:
            self.domains[dims, data] = decompose(Grid(SIDES[dims], periodic=True), self.comm, data=data)
        return self.domains[dims, data]

    def field(self, channels=2, dims=2):
        return torch.ones(1, channels, *self.domain(dims).local_shape, requires_grad=True)


@dataclass
class Call:
    """One call.

    Attributes
    ----------
    make : callable
        From a setting to the call, on all ranks alike.
    words : tuple of str
        What an error says that is of this call: one of these.
    differentiable : bool
        Whether there is a backward pass.
    local : tuple of str
        Directions in which nobody is needed, so that whatever one rank does the others go on.
    waited_later : tuple of str
        Directions in which what is sent is waited for later, so that another call may come before it or after it and nothing is wrong.
    """

    make: Callable[[Setting], Callable[[], Any]]
    words: tuple[str, ...]
    differentiable: bool = False
    local: tuple[str, ...] = ()
    waited_later: tuple[str, ...] = ()


def layer(name, *args, dims=2, channels=2, local=(), **options):
    """A layer of that name, whose errors bear it."""

    def make(setting):
        built = getattr(layers, name)(setting.domain(dims), *args, **options)
        return lambda: built(setting.field(channels, dims))

    return Call(make, (f"{name} ",), True, local)


def function(act, *words, channels=2, local=(), dims=2):
    """A differentiable function of a domain and a field."""
    return Call(lambda s: lambda: act(s.domain(dims), s.field(channels, dims)), words, True, local)


def plain(act, *words, local=()):
    """Any function of a setting."""
    return Call(lambda s: partial(act, s), words, local=local)


def made(build, *words, differentiable=False, **options):
    """What is built once, by all, and then called."""
    return Call(build, words, differentiable, **options)


def same_in(dims):
    """Layers that there are in 1, 2 and 3 dims."""
    around = {"padding": 1, "dims": dims}
    return {
        f"{name}{dims}d": layer(f"{name}{dims}d", *args, **options)
        for name, args, options in (
            ("Conv", (2, 2, 3), {**around, "padding_mode": "circular"}),
            ("ConvTranspose", (2, 2, 3), around),
            ("AvgPool", (3, 1), around),
            ("MaxPool", (3, 1), around),
            ("BatchNorm", (2,), {"dims": dims}),
            ("InstanceNorm", (2,), {"dims": dims}),
        )
    }


LAYERS = {
    "Interpolate": layer("Interpolate", scale_factor=2, mode="bilinear"),
    "Pad": layer("Pad", (1, 1, 1, 1), mode="circular"),
    "Roll": layer("Roll", (1, 1)),
    "Slice": layer("Slice", slice(3, None), slice(3, None)),
    "SpectralConv": layer("SpectralConv", 2, 2, 3),
    "PixelShuffle": layer("PixelShuffle", 2, dims=1),
    "PixelUnshuffle": layer("PixelUnshuffle", 2),
    "GroupNorm": layer("GroupNorm", 1, 2),
    "LayerNorm": layer("LayerNorm", (2, *SIDES[2])),
    "ChannelMLP": layer("ChannelMLP", 2, local=("forward",)),
    "Pointwise": layer("Pointwise", torch.nn.Conv2d(2, 2, 1), local=("forward",)),
    "Ewald": layer("Ewald", 2, 7.0, (1.0, 1.0)),
    "PhysicsAttention": layer("PhysicsAttention", 2, 1, 3),
    "LatentAttention": layer("LatentAttention", 2, 1, 3),
    "Dropout": layer("Dropout", local=("forward", "backward")),
    **same_in(1),
    **same_in(2),
    **same_in(3),
}


def network(kind, **options):
    def make(setting):
        model = kind(setting.domain(), 2, 2, channels=4, **options)
        return lambda: model(setting.field())

    return make


def tendency(equation, channels):
    return function(lambda d, x: equation.tendency(x, d), f"{type(equation).__name__}.tendency", channels=channels)


LOSSES = (loss.mse, loss.relative_l2, loss.h1)


def losses(data=1):
    """On data groups, where there are as many as ranks, nobody shares a field and all share the loss."""

    def of(act):
        def make(setting):
            domain = setting.domain(data=setting.comm.size if data > 1 else 1)
            x = torch.ones(1, 2, *domain.local_shape, requires_grad=True)
            return lambda: act(domain, x, x.detach() + 1)

        return make

    suffix = " of data groups" if data > 1 else ""
    quiet = ("backward",)
    return {f"{f.__name__}{suffix}": Call(of(f), (f.__name__,), True, () if f is loss.h1 and data == 1 else quiet) for f in LOSSES}


def modes(setting):
    of = low_modes(setting.domain(), (3, 3))
    return lambda: torch.view_as_real(of.modes(setting.field())).square()


def cells(setting):
    of = low_modes(setting.domain(), (3, 3))
    s = of.modes(setting.field()).detach().requires_grad_()
    return lambda: of.cells(s)


def window_adjoint(setting):
    wide = setting.domain().ghost_window(((1, 1), (1, 1)))
    y = torch.ones(1, *wide.target_shape, requires_grad=True)
    return lambda: parallel.window_adjoint(wide, y)[0]


def ring(setting):
    """Nodes in a ring that know their neighbors, some on each rank."""
    size, rank = setting.comm.size, setting.comm.rank
    nodes = np.arange(3 * rank, 3 * rank + 3)
    edges = np.stack([np.concatenate([nodes + 1, nodes - 1]) % (3 * size), np.concatenate([nodes, nodes])])
    return Graph.deal(nodes[:, None].astype(float), edges, setting.comm, np.full(3, rank))


def with_ghosts(setting):
    graph, x = ring(setting), torch.ones(3, 2, requires_grad=True)
    return lambda: graph.with_ghosts(x)


def overlapping(setting):
    graph, x = ring(setting), torch.ones(3, 2, requires_grad=True)
    graph.schedule = Overlapped()
    return lambda: on_edges(graph, lambda begin, end: begin - end, x, x)


def stale(setting):
    graph, x = ring(setting), torch.ones(1, 3, 2, requires_grad=True)
    graph.schedule = Stale()
    graph.visit([0])
    setting.afterwards.append(graph.schedule.settle)
    return lambda: graph.with_ghosts(x)


def staged(setting):
    stages, x = parallel.Stages(setting.comm, setting.comm.size), torch.ones(2, 3, requires_grad=True)
    model = torch.nn.Sequential(*(torch.nn.Linear(3, 3) for _ in range(setting.comm.size)))
    broadcast_parameters(model, setting.comm)
    pipeline(model, stages, 2)
    return lambda: model(x).sum().backward()  # of each pass once


def chunked(setting):
    graph, stages = ring(setting), parallel.Stages(setting.comm, 1)
    model, x = MeshGraphNet(graph, 2, 2, channels=4, steps=1), torch.ones(1, 3, 2, requires_grad=True)
    pipeline(model, stages, chunks=2)

    def call():
        graph.visit([0])
        model(x).sum().backward()

    return call


class ByDegrees(torch.nn.Module):
    """A layer of PyTorch Geometric that reads two hops."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2))

    def forward(self, x, edge_index):
        degrees = torch.ones_like(x).index_add(0, edge_index[1], torch.ones_like(x)[edge_index[0]])
        return x.index_add(0, edge_index[1], (self.weight * x / degrees)[edge_index[0]])


def on_ring(build):
    """A layer or a network on a graph."""

    def make(setting):
        model = build(ring(setting))
        return lambda: model(torch.ones(3, 2, requires_grad=True))

    return make


def whole_field(act):
    """Something done to a field on a graph that one rank has, or shall have."""

    def make(setting):
        graph = ring(setting)
        whole = torch.ones(graph.num_points_global, 2, requires_grad=True)
        return lambda: act(graph, torch.ones(3, 2, requires_grad=True), whole if setting.comm.rank == 0 else None)

    return make


def tiled(setting):
    tiles, w = parallel.Tiles(setting.comm.Dup(), 5), torch.ones(3, requires_grad=True)
    return lambda: torch.stack(tiles.total_of(tiles.spread(w)[0]))


def tiled_network(setting):
    size, rank = setting.comm.size, setting.comm.rank
    nodes = np.arange(3 * rank, 3 * rank + 3)
    edges = np.stack([np.concatenate([nodes + 1, nodes - 1]) % (3 * size), np.concatenate([nodes, nodes])])
    graph = Graph.deal(nodes[:, None].astype(float), edges, setting.comm, same_bits=True)
    model, x = MeshGraphNet(graph, 2, 2, channels=4, steps=1), torch.ones(len(graph.nodes), 2, requires_grad=True)
    return lambda: model(x)


MESH = structured((4, 4), (1.0, 1.0))


def on_one_rank(setting):
    """Points and cells of a mesh, all of them read by the first rank."""
    cut = slice(None) if setting.comm.rank == 0 else slice(0)
    return MESH.points[cut], {kind: corners[cut] for kind, corners in MESH.cells.items()}


def points(setting):
    """Some of each rank, and their numbers."""
    numbers = np.arange(6 * setting.comm.rank, 6 * setting.comm.rank + 6)
    return np.random.default_rng(setting.comm.rank).random((6, 2)), numbers


def moving(setting):
    cloud = Cloud.of(points(setting)[0], Nearest(2), setting.comm)
    return lambda: cloud.move(cloud.positions)


FUNCTIONS = {
    "Tiles.spread": made(tiled, "Tiles.total_of", "Tiles.spread", differentiable=True),
    "MeshGraphNet same bits": made(tiled_network, "MeshGraphNet", differentiable=True),
    "sum_points": function(lambda d, x: parallel.sum_points(d, d.comm, lambda u: [u.sum((2, 3))], x)[0], "sum_points", local=("backward",)),
    "MeshGraph.of": plain(lambda s: MeshGraph.of(MESH, s.comm), "MeshGraph.of"),
    "Within": plain(lambda s: Within(0.5)(*points(s), s.comm), "Within"),
    "Cloud.of": plain(lambda s: Cloud.of(points(s)[0], Within(0.5), s.comm), "Cloud.of"),
    "Cloud.move": made(moving, "Cloud.move"),
    "partition": plain(lambda s: partition(points(s)[0], np.zeros((2, 0), np.int64), 3, s.comm), "partition"),
    "PartitionReport.counted": plain(
        lambda s: PartitionReport.counted(points(s)[1] % 2, np.stack([points(s)[1]] * 2), 2, s.comm), "PartitionReport.counted"
    ),
    "Graph.deal": plain(ring, "deal"),
    "Graph.with_ghosts": made(with_ghosts, "with_ghosts", differentiable=True),
    "on_edges": made(overlapping, "on_edges", differentiable=True),
    "Stale": made(stale, "with_ghosts", "ghosts of a graph", differentiable=True, waited_later=("backward",)),
    "Stages": plain(lambda s: parallel.Stages(s.comm, 1), "Stages"),
    "pipeline chunks": made(chunked, "MeshGraphNet 1 in stages"),
    "pipeline": made(staged, "Sequential in stages"),
    "MeshGraphNet": made(
        on_ring(lambda g: MeshGraphNet(g, 2, 2, channels=4, steps=1)), "with_ghosts", "MeshGraphNet", "replicated", differentiable=True
    ),
    "EdgeIndexLayer": made(on_ring(lambda g: layers.EdgeIndexLayer(g, ByDegrees())), "EdgeIndexLayer", differentiable=True),
    "GraphAttention": made(on_ring(lambda g: layers.GraphAttention(g, 2, 1)), "GraphAttention", "with_ghosts", differentiable=True),
    "GraphMixer": made(
        on_ring(lambda g: GraphMixer(g, 2, 2, 4, 1, patches=2)),
        *("with_ghosts", "GraphMixer", "all_reduce", "replicated", "check_parameters"),
        differentiable=True,
    ),
    "MeshTransformer": made(
        on_ring(lambda g: MeshTransformer(g, 2, 2, 4, 1, heads=2, tokens=1)),
        *("GraphAttention", "MeshTransformer", "with_ghosts", "replicated", "check_parameters"),
        differentiable=True,
    ),
    "ParticleNet": made(
        on_ring(lambda g: ParticleNet(g, 2, 2, radius=0.5, channels=4, steps=1)),
        *("ParticleNet", "Near.of", "with_ghosts", "replicated"),
        differentiable=True,
    ),
    "Graph.gather": made(whole_field(lambda graph, x, whole: graph.gather(x)), "gather", differentiable=True),
    "Graph.scatter": made(whole_field(lambda graph, x, whole: graph.scatter(whole)), "scatter", differentiable=True),
    "MeshGraph.deal": plain(lambda s: MeshGraph.deal(*on_one_rank(s), s.comm), "deal"),
    "FNO": made(network(FNO, modes=3, layers=1), "SpectralConv", "ChannelMLP", "replicated", "check_parameters", differentiable=True),
    "PhysicsAttentionNet": made(
        network(PhysicsAttentionNet, layers=1, heads=2, slices=3), "PhysicsAttention", "replicated", "check_parameters", differentiable=True
    ),
    "UNet": made(network(UNet, levels=2), "Conv2d", "GroupNorm", "Interpolate", "AvgPool2d", "check_parameters", differentiable=True),
    **losses(),
    **losses(data=2),
    "Domain.halo": function(lambda d, x: d.halo(x)[0], "halo"),
    "Domain.gather": function(lambda d, x: d.gather(x), "gather"),
    "Domain.repartition": function(lambda d, x: d.repartition(x, d.with_dims((1, d.comm.size))), "repartition"),
    "Domain.scatter": function(
        lambda d, x: d.scatter(torch.ones(1, 2, *d.global_shape, requires_grad=True) if d.comm.rank == 0 else None), "scatter"
    ),
    "rfftn": function(lambda d, x: fft.rfftn(d, x).abs(), "rfftn"),
    "fftn": function(lambda d, x: fft.fftn(d, x).abs(), "fftn"),
    "irfftn": function(lambda d, x: fft.irfftn(d, fft.rfftn(d, x)), "rfftn"),
    "ifftn": function(lambda d, x: fft.ifftn(d, fft.fftn(d, x)).abs(), "fftn"),
    "LowModes.modes": made(modes, "LowModes.modes", differentiable=True),
    "LowModes.cells": made(cells, "LowModes.cells", differentiable=True),
    "derivative": function(lambda d, x: difference.derivative(x, d, 0), "derivative"),
    "gradient": function(lambda d, x: difference.gradient(x, d)[0], "gradient"),
    "divergence": function(lambda d, x: difference.divergence(x, d), "divergence"),
    "laplacian": function(lambda d, x: difference.laplacian(x, d), "laplacian"),
    "roll": function(lambda d, x: layers.roll(x, d, (1, 1)), "roll"),
    "all_reduce": function(lambda d, x: parallel.all_reduce(d.comm, x[..., 0, 0]), "all_reduce"),
    "all_gather": function(lambda d, x: parallel.all_gather(d.comm, x[..., 0, 0]), "all_gather"),
    "broadcast": function(lambda d, x: parallel.broadcast(d.comm, x[..., 0, 0]), "broadcast"),
    "sum_reduce": function(lambda d, x: parallel.sum_reduce(d.comm, x[..., 0, 0]), "sum_reduce"),
    "global_sum": function(lambda d, x: parallel.global_sum(d.comm, x[..., 0, 0])[0], "global_sum", local=("backward",)),
    "replicated": function(lambda d, x: parallel.replicated(d.comm, x[..., 0, 0])[0], "replicated", local=("forward",)),
    "window": function(lambda d, x: parallel.window(d.ghost_window(((1, 1), (1, 1))), x)[0], "window of", "window backward"),
    "window_adjoint": made(window_adjoint, "window_adjoint", differentiable=True),
    "AdvectionDiffusion": tendency(equations.AdvectionDiffusion(velocity=(1.0, 1.0)), 1),
    "Burgers": tendency(equations.Burgers(), 2),
    "GrayScott": tendency(equations.GrayScott(), 2),
    "Heat": tendency(equations.Heat(), 1),
    "KuramotoSivashinsky": function(lambda d, x: equations.KuramotoSivashinsky().tendency(x, d), "KuramotoSivashinsky.tendency", dims=1),
    "NavierStokes.tendency": tendency(equations.NavierStokes(), 1),
    "ShallowWater": tendency(equations.ShallowWater(), 3),
    "Wave": tendency(equations.Wave(), 2),
    "Darcy.tendency": tendency(equations.Darcy(), 2),
}
