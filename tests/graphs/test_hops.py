"""A power of a graph joins what paths join, on any number of ranks, and carries fields of the graph."""

import numpy as np
import pytest
import torch
from mpi4py import MPI

from hpcml.core.errors import ConfigError
from hpcml.graphs import Cloud, Graph, Within, power, triangulated
from hpcml.topology.block import block_range

NODES = 60


def share(rows, comm):
    mine = block_range(len(rows), comm.size, comm.rank)
    return rows[mine.start : mine.stop]


def directed():
    """A mesh, one way only at some places, with an edge twice, one from a node to itself, and a node without any."""
    mesh = triangulated(np.random.default_rng(0).random((NODES - 1, 2)))
    edges = mesh.edges()[:, np.random.default_rng(1).random(mesh.edges().shape[1]) > 0.2]
    return np.concatenate([mesh.points, [[2.0, 2.0]]]), np.concatenate([edges, edges[:, :1], [[5], [5]]], 1)


def by_paths(edges, hops):
    near = np.zeros((NODES, NODES), bool)
    near[tuple(edges)] = True
    reached, step = near.copy(), near
    for _ in range(hops - 1):
        step = step @ near
        reached |= step
    np.fill_diagonal(reached, np.diagonal(near))  # a node has itself where the graph says so
    return reached


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("hops", [1, 2, 3])
def test_edges_are_those_of_paths(comm, hops):
    points, edges = directed()
    scattered = share(np.arange(NODES) % max(comm.size - 1, 1), comm)  # the last of several ranks has no node
    for method, same_bits in (("bisection", False), (scattered, False), ("curve", True)):
        with Graph.deal(share(points, comm), share(edges.T, comm).T, comm, method, same_bits=same_bits) as graph:
            far = power(graph, hops)
            assert far is power(graph, hops) and torch.equal(far.nodes, graph.nodes) and torch.equal(far.positions, graph.positions)
            ends = torch.cat([far.nodes, far.ghosts])[far.edge_index[0]], far.nodes[far.edge_index[1]]
            every = np.concatenate(comm.allgather(torch.stack([*ends, far.edges]).numpy()), 1)
            expected = np.argwhere(by_paths(edges, hops).T)[:, ::-1].T  # by where they end
            assert np.array_equal(every[:2, np.argsort(every[2])], expected) and np.array_equal(np.sort(every[2]), range(every.shape[1]))
            x = torch.arange(NODES, dtype=torch.float64)[:, None]
            sums = far.aggregate(far.at_begins(x[graph.nodes]))
            assert torch.equal(sums, torch.from_numpy(by_paths(edges, hops).T.astype(float) @ x.numpy())[graph.nodes])  # whole numbers
            assert graph.aggregate(graph.at_begins(x[graph.nodes])).shape == sums.shape  # which still exchanges on its own


@pytest.mark.parallel([1, 2])
def test_a_power_of_a_cloud_is_forgotten_when_it_moves(comm):
    points = np.random.default_rng(0).random((NODES, 2))
    with Cloud.of(share(points, comm), Within(0.2), comm) as cloud:
        before = power(cloud, 2)
        cloud.move(cloud.positions * 0.5)
        after = power(cloud, 2)
        with Cloud.of(points * 0.5, Within(0.2), MPI.COMM_SELF) as alone:
            assert after is not before and after.num_edges_global == power(alone, 2).num_edges_global > before.num_edges_global


def test_no_hop_is_refused():
    graph = Graph.deal(np.zeros((2, 1)), np.array([[0], [1]]), MPI.COMM_SELF)
    with pytest.raises(ConfigError, match="1 hop or more, got 0"):
        power(graph, 0)


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("hops", [1, 2, 3])
def test_a_block_of_several_hops_sees_the_node_itself_where_one_of_a_hop_does(comm, hops):
    own = np.array([[0, 2, 4], [0, 2, 4]])  # the others have no edge to themselves
    ring = np.stack([np.arange(6), (np.arange(6) + 1) % 6])
    edges = np.concatenate([ring, ring[::-1], own], 1)  # both ways, so that a path of two edges comes back
    with Graph.deal(share(np.arange(6.0)[:, None], comm), share(edges.T, comm).T, comm) as graph:
        x = torch.eye(6)[graph.nodes]
        far = power(graph, hops)
        seen = far.aggregate(far.at_begins(x)) > 0
        assert torch.equal(seen[range(len(graph.nodes)), graph.nodes], graph.nodes % 2 == 0)
