"""The oracle of layers and models on any space: plain torch on the whole of it, with the same parameters."""

import copy
from contextlib import contextmanager

import numpy as np
import torch
from mpi4py import MPI
from scipy.spatial import Delaunay

from hpcml import Grid, decompose
from hpcml.graphs import Graph
from hpcml.mpi import reductions
from hpcml.topology.block import block_range

NODES = 50
EXACT = 1e-12  # the bar for float64, relative to the largest entry: the same products, summed in another order
SECOND = 1e-10  # the bar for second derivatives


def mesh(dims=2):
    """Positions, and edges both ways, of a triangulation with one edge twice, one to itself and a node without any."""
    points = np.random.default_rng(dims).random((NODES, dims))
    cells = Delaunay(points[1:]).simplices + 1
    pairs = np.concatenate([cells[:, [i, j]] for i in range(dims + 1) for j in range(dims + 1) if i != j])
    edges = np.unique(pairs, axis=0)
    return points, np.concatenate([edges, edges[:1], [[5, 5]]]).T


def deal(comm, positions, edges, way="bisection", **options):
    """A graph of arrays that every rank has. Dealt in the way ``uneven``, the last of several ranks has no node."""
    nodes, mine = (block_range(n, comm.size, comm.rank) for n in (len(positions), edges.shape[1]))
    if way == "uneven":
        way = np.random.default_rng(3).integers(0, max(comm.size - 1, 1), len(positions))[nodes.start : nodes.stop]
    return Graph.deal(positions[nodes.start : nodes.stop], edges[:, mine.start : mine.stop], comm, way, **options)


SPACES = {
    "grid": lambda comm: decompose(Grid((7, 6), periodic=(True, False)), comm),
    "bisection": lambda comm: deal(comm, *mesh()),
    "curve": lambda comm: deal(comm, *mesh(3), "curve"),
    "empty rank": lambda comm: deal(comm, *mesh(), "uneven"),
}


def draw(space, channels, samples=2, seed=0):
    """A whole field."""
    whole = space.whole_shape(space.field_shape(samples, channels))
    return torch.randn(whole, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shake(model, seed=1):
    """Parameters that are not small anywhere, so that every term of an equation counts, alike on all ranks."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p + 0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return model


def error(found, expected):
    """Largest difference over the largest entry, or over one where all of them vanish."""
    if not found.numel():
        return 0.0
    return float((found - expected).detach().abs().max() / (expected.detach().abs().max() or 1.0))


def derivatives(model, compute, x, cotangent):
    """Output; gradients of its product with the cotangent; those of the square of its gradient by x, as a loss on forces has."""
    x = x.clone().requires_grad_()
    parameters = list(model.parameters())
    y = compute(x)
    first = torch.autograd.grad((y * cotangent).sum(), [x, *parameters], create_graph=True)
    second = torch.autograd.grad(first[0].square().sum(), [x, *parameters], allow_unused=True, materialize_grads=True)
    return y, first, second


def check_twin(space, model, plain, x, forces=True):
    """A model over ranks computes what ``plain``, a function of the whole field, computes with the same parameters."""
    with torch.no_grad():
        cotangent = torch.randn(plain(x).shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    y, first, second = derivatives(model, model, x[space.index], cotangent[space.index])
    y_whole, first_whole, second_whole = derivatives(model, plain, x, cotangent)
    assert y.shape == y_whole[space.index].shape
    assert error(y, y_whole[space.index]) <= EXACT
    names = ["x", *dict(model.named_parameters())]
    largest = max(float(g.detach().abs().max()) for g in first_whole[1:])
    for name, mine, whole in zip(names, first, first_whole, strict=True):
        # A gradient that is zero on paper, that of a bias before a softmax for one, is nothing but round-off of the largest.
        scale = float(whole.detach().abs().max()) if name == "x" else max(float(whole.detach().abs().max()), 1e-3 * largest)
        expected = whole[space.index] if name == "x" else whole
        assert not mine.numel() or float((mine - expected).detach().abs().max()) <= EXACT * scale, name
    if forces:
        largest = max(float(g.abs().max()) for g in second_whole)
        for name, mine, whole in zip(names, second, second_whole, strict=True):
            expected = whole[space.index] if name == "x" else whole
            assert not mine.numel() or float((mine - expected).abs().max()) <= SECOND * max(float(whole.abs().max()), 1e-3 * largest), name


def check_autocast(space, build, plain, channels, seeds=4):
    """In bfloat16 models over ranks are at most 1.5 times as far from themselves in float64 as ``plain(model)`` is, in torch on one rank.

    The distance of one small network is a matter of chance, so that of several, of seeds of their own, is taken.
    """
    every = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        every.append(list(_autocast_distances(space, build(space), plain, draw(space, channels, seed=seed))))
    one, many = torch.tensor(every, dtype=torch.float64).square().mean(0).sqrt().unbind(-1)
    assert (one > 0).all() and (many <= 1.5 * one).all(), (one, many)


def _autocast_distances(space, model, plain, x):
    """Torch's and ours: of the output, of the gradient of the input, and of all parameters' gradients, each relative to its size."""
    exact = copy.deepcopy(model).double()
    whole = copy.deepcopy(exact)
    with torch.no_grad():
        cotangent = torch.randn(plain(whole)(x).shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def run(module, x, cotangent, half):
        x = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            y = module(x)
        parameters = list(module.parameters())
        return y, *torch.autograd.grad(y, [x, *parameters], cotangent.to(y.dtype))

    def distances(found, index, comm):
        for k, part in enumerate(truth[:2]):
            square = float((found[k].double() - part[index]).detach().square().sum())
            yield comm.allreduce(square) ** 0.5 / float(part.detach().norm())
        floor = 1e-3 * max(b.norm() for b in truth[2:])  # a gradient that is zero on paper is nothing but rounding
        yield sum(float(((a.double() - b).norm() / max(b.norm(), floor)) ** 2) for a, b in zip(found[2:], truth[2:], strict=True)) ** 0.5

    truth = run(plain(whole), x, cotangent, half=False)
    torchs = run(plain(copy.deepcopy(model)), x.float(), cotangent.float(), half=True)
    ours = run(model, x[space.index].float(), cotangent[space.index].float(), half=True)
    return zip(distances(torchs, ..., MPI.COMM_SELF), distances(ours, space.index, space.comm), strict=True)


@contextmanager
def counted_sums(monkeypatch):
    """Numbers of each sum over ranks that is made in the block, in order."""
    sums, original = [], reductions._sum

    def count(buffer, comm):
        sums.append(int(np.asarray(buffer).size))
        original(buffer, comm)

    with monkeypatch.context() as patch:
        patch.setattr(reductions, "_sum", count)
        yield sums
