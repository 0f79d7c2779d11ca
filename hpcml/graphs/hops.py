"""What lies several edges away: the edges around a rank's nodes, and graphs that join nodes which are not next to each other."""

from typing import Any

import numpy as np
import torch

from hpcml.core.errors import ConfigError
from hpcml.core.optional_module import optional_module
from hpcml.graphs.edge_numbers import edge_numbers
from hpcml.graphs.graph import Graph
from hpcml.graphs.room import room_for
from hpcml.mpi.call import named_call
from hpcml.topology.directory import send_rows


@named_call
def power(graph: Graph, hops: int) -> Graph:
    """Graph of the same nodes, on the same ranks, with an edge from every other node that at most so many edges lead from.

        edges of power(G, h) = {(j, i): j != i, there is a path of 1 to h edges from j to i} and {(i, i): it is an edge of G}

    A node has an edge from itself where it has one in the graph: what reads several hops sees the node itself where one hop does.

    Parameters
    ----------
    graph : Graph
        Edges that are there twice make no difference.
    hops : int
        At least 1.

    Returns
    -------
    Graph
        Fields of one are fields of the other. It is closed with ``graph``, and is the same at every call.

    Raises
    ------
    ConfigError
        For another number; on every rank, if one has no memory for so many edges.

    Communication
    -------------
    Collective: all to all, as often as there are hops, the edges that a rank does not know yet.

    Notes
    -----
    A mesh of triangles has about 6, 18, 36 edges into each node for 1, 2, 3 hops, one of tetrahedra about 14, 65, 175.

    References
    ----------
    Garnier et al., arXiv 2508.18051 (2025), for attention over several hops on meshes.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> ring = Graph.deal(np.zeros((5, 1)), np.array([[0, 1, 2, 3, 4], [1, 2, 3, 4, 0]]), MPI.COMM_SELF)
    >>> power(ring, 2).edge_index.tolist()
    [[3, 4, 0, 4, 0, 1, 1, 2, 2, 3], [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]]
    """
    if hops < 1:
        raise ConfigError(f"a power of a graph has 1 hop or more, got {hops}")
    return graph.joined(("power", hops), lambda: _edges_within(graph, hops))


def _edges_within(graph: Graph, hops: int) -> tuple[np.ndarray, np.ndarray]:
    own, total = np.sort(graph.nodes.cpu().numpy()), graph.num_points_global
    table = neighborhood(graph, hops - 1)
    names, adjacency = adjacency_of(table, own)
    adjacency.data[:] = 1
    with room_for(f"all edges of {hops} hops", "take fewer hops, or more ranks", graph.comm):
        reached = adjacency[np.searchsorted(names, own)]
        for _ in range(hops - 1):
            reached = reached + reached @ adjacency
            reached.data[:] = 1  # whether, not how often
        ends, begins = reached.nonzero()
        edges = np.stack([names[begins], own[ends]])
        loops = table[table[:, 0] == table[:, 1], 0]
        edges = edges[:, (edges[0] != edges[1]) | np.isin(edges[1], loops)]
        edges = edges[:, np.lexsort(edges)]
    return edges, edge_numbers(edges, own, total, graph.comm)


def neighborhood(graph: Graph, hops: int) -> np.ndarray:
    """Edges that end at this rank's nodes, or at nodes that at most so many edges lead from to these.

    Returns
    -------
    ndarray
        int64, (edge, 2): global numbers of the nodes where each begins and ends.

    Communication
    -------------
    Collective: all to all for each hop.
    """
    table = own_edges(graph)
    known = np.unique(graph.nodes.cpu().numpy())
    by_end = table[np.argsort(table[:, 1], kind="stable")]
    for _ in range(hops):
        wanted = np.setdiff1d(table[:, 0], known)
        asked, asker = send_rows(graph.owners.ask(wanted), graph.comm, wanted, np.full(len(wanted), graph.comm.rank))
        first, last = (np.searchsorted(by_end[:, 1], asked, side) for side in ("left", "right"))
        counts = last - first
        rows = np.repeat(first - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        table = np.concatenate([table, send_rows(np.repeat(asker, counts), graph.comm, by_end[rows])[0]])
        known = np.union1d(known, wanted)
    return table


def own_edges(graph: Graph) -> np.ndarray:
    """Where this rank's edges begin and end, by global numbers, int64, (edge, 2).

    Communication
    -------------
    Local.
    """
    names = torch.cat([graph.nodes, graph.ghosts])
    return torch.stack([names[graph.edge_index[0]], graph.nodes[graph.edge_index[1]]], 1).cpu().numpy()


def adjacency_of(table: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, Any]:
    """Numbers of the nodes of a table of edges, ascending, and how many edges lead to each (row) from each (column), in float64.

    Communication
    -------------
    Local.
    """
    names = np.union1d(table.ravel(), own)
    begins, ends = np.searchsorted(names, table).T
    sparse = optional_module("scipy.sparse", "powers of graphs need the package scipy", "'hpcml[graphs]'")
    matrix = sparse.csr_array((np.ones(len(table)), (ends, begins)), shape=(len(names), len(names)))
    matrix.sum_duplicates()
    matrix.sort_indices()
    return names, matrix
