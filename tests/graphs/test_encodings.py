"""Positional encodings are those of dense matrices, whatever ranks share the graph."""

import numpy as np
import pytest
import torch

from hpcml.core.errors import ConfigError
from hpcml.graphs import Graph, fast_rp, random_feature_propagation, random_walk_encoding, triangulated
from hpcml.topology.block import block_range

NODES = 70
ROUNDING = {"rtol": 1e-12, "atol": 1e-13}  # of sums in another order


def share(rows, comm):
    mine = block_range(len(rows), comm.size, comm.rank)
    return rows[mine.start : mine.stop]


def directed():
    """A mesh with some ways closed, an edge twice, one from a node to itself, and a node without any."""
    mesh = triangulated(np.random.default_rng(0).random((NODES - 1, 2)))
    edges = mesh.edges()[:, np.random.default_rng(1).random(mesh.edges().shape[1]) > 0.1]
    return np.concatenate([mesh.points, [[2.0, 2.0]]]), np.concatenate([edges, edges[:, :1], [[5], [5]]], 1)


def dense(edges):
    counts = np.zeros((NODES, NODES))
    np.add.at(counts, (edges[1], edges[0]), 1)
    return counts


def graphs(comm):
    points, edges = directed()
    scattered = share(np.arange(NODES) % max(comm.size - 1, 1), comm)  # the last of several ranks has no node
    for method, same_bits in (("bisection", False), (scattered, False), ("curve", True)):
        with Graph.deal(share(points, comm), share(edges.T, comm).T, comm, method, same_bits=same_bits) as graph:
            yield graph, dense(edges)


def gathered(graph, x):
    nodes, rows = zip(*graph.comm.allgather((graph.nodes.numpy(), x.numpy())), strict=True)
    return np.concatenate(rows)[np.argsort(np.concatenate(nodes))]


@pytest.mark.parallel([1, 2, 3])
def test_walks_come_back_as_powers_of_a_matrix_say(comm):
    found = []
    for graph, counts in graphs(comm):
        walk, power = counts / np.maximum(counts.sum(1, keepdims=True), 1), np.eye(NODES)
        expected = np.stack([(power := power @ walk).diagonal() for _ in range(6)], 1)
        found.append(gathered(graph, random_walk_encoding(graph, 6)))
        np.testing.assert_allclose(found[-1], expected, **ROUNDING)
    assert all(np.array_equal(each, found[0]) for each in found)  # bits, however nodes are dealt
    with pytest.raises(ConfigError, match="1 step or more"):
        random_walk_encoding(graph, 0)


@pytest.mark.parallel([1, 2, 3])
def test_projections_are_those_of_the_matrix_of_walks(comm):
    found = []
    for graph, counts in graphs(comm):
        degrees = np.maximum(counts.sum(1, keepdims=True), 1)
        drawn = gathered(graph, fast_rp(graph, 400, weights=(), seed=3))
        assert drawn.shape == (NODES, 400) and not drawn.any()
        each = [gathered(graph, fast_rp(graph, 400, weights, -0.5, seed=3)) for weights in ((1.0,), (0.0, 1.0), (0.25, 2.0))]
        np.testing.assert_allclose(each[2], 0.25 * each[0] + 2.0 * each[1], **ROUNDING)
        walked = each[0]  # of length 1, or 0
        next_ = counts / degrees @ raw(graph, counts, degrees)
        norms = np.linalg.norm(next_, axis=1, keepdims=True)
        np.testing.assert_allclose(walked, next_ / np.where(norms > 0, norms, 1), **ROUNDING)
        found.append(each[2])
    assert all(np.array_equal(each, found[0]) for each in found)


def raw(graph, counts, degrees):
    """D^-1/2 R, R worked out anew from the random numbers of its entries."""
    from hpcml.mpi.seeds import uniform

    drawn = uniform(3, ("fast_rp",), torch.arange(NODES * 400), torch.float64).view(NODES, 400).numpy()
    signs = np.where(drawn < 1 / 6, 1.0, np.where(drawn < 1 / 3, -1.0, 0.0))
    assert abs((signs != 0).mean() - 1 / 3) < 0.02 and abs(signs.mean()) < 0.02  # of 28,000 entries, six times their deviation
    return np.sqrt(3) * signs * (degrees / (counts.sum() / NODES)) ** -0.5


@pytest.mark.parallel([1, 2, 3])
def test_features_are_passed_on_and_scaled(comm):
    found = []
    for graph, counts in graphs(comm):
        x = gathered(graph, random_feature_propagation(graph, 3, 4, seed=1))
        scale = 1 / np.sqrt(np.maximum(counts.sum(1, keepdims=True), 1))
        for step in range(4):
            expected = scale * (counts @ (scale * x[:, 3 * step : 3 * step + 3]))
            expected /= np.sqrt((expected**2).mean(0))
            np.testing.assert_allclose(x[:, 3 * step + 3 : 3 * step + 6], expected, **ROUNDING)
        assert len(np.unique(x[:, 0])) == NODES
        found.append(x)
    for each in found:
        np.testing.assert_allclose(each, found[0], **ROUNDING)
