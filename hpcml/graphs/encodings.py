"""Positional encodings: numbers that tell the nodes of a graph apart by where they are in it.

All are made of messages along the edges and of random numbers keyed by the numbers of nodes, so they do not depend on the ranks.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hpcml.core.errors import ConfigError
from hpcml.graphs.graph import Graph
from hpcml.graphs.hops import adjacency_of, neighborhood
from hpcml.mpi.call import named_call
from hpcml.mpi.seeds import normal, uniform
from hpcml.parallel.sum_points import sum_points

_ROWS = 2000
"""Nodes whose walks are followed at a time, which bounds the memory for where they are."""


@named_call
def random_walk_encoding(graph: Graph, steps: int) -> Tensor:
    """How likely a walk that goes back along edges at random is where it began, after 1 to so many steps.

        p_i,k = (P^k)_ii,      P_ij = edges from j to i / edges that end at i

    Parameters
    ----------
    graph : Graph
        A node without an edge has zeros.
    steps : int
        At least 1; 16 to 20 are usual.

    Returns
    -------
    Tensor
        float64, (node, step).

    Raises
    ------
    ConfigError
        For another number.

    Communication
    -------------
    Collective: all to all, ``steps - 1`` times, the edges that a rank does not know yet; it comes to know those of all nodes within so many
    hops of its own, so parts are to be larger than that.

    References
    ----------
    Dwivedi et al., International Conference on Learning Representations (2022), arXiv 2110.07875.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> ring = Graph.deal(np.zeros((3, 1)), np.array([[0, 1, 2, 1, 2, 0], [1, 2, 0, 0, 1, 2]]), MPI.COMM_SELF)
    >>> random_walk_encoding(ring, 3)[0].tolist()
    [0.0, 0.5, 0.25]
    """
    if steps < 1:
        raise ConfigError(f"a walk has 1 step or more, got {steps}")
    own = graph.nodes.cpu().numpy()
    names, walk = adjacency_of(neighborhood(graph, steps - 1), own)
    walk.data /= np.repeat(np.maximum(walk.sum(1), 1), np.diff(walk.indptr))
    found = np.zeros((len(own), steps))
    places = np.searchsorted(names, own)
    for first in range(0, len(own), _ROWS):
        of = places[first : first + _ROWS]
        where = walk[of]
        for step in range(steps):
            where = where if step == 0 else where @ walk
            where.sort_indices()  # so that sums go in the order of the numbers of nodes, whoever has them
            found[first : first + _ROWS, step] = where[np.arange(len(of)), of]
    return torch.from_numpy(found).to(graph.device)


@named_call
def fast_rp(graph: Graph, channels: int, weights: Sequence[float] = (0.0, 1.0, 1.0), power: float = 0.0, seed: int = 0) -> Tensor:
    """Very sparse random projections of where walks go, weighted by the number of steps.

        x = sum_k w_k N_k / |N_k|,      N_k = P^k D^power R,      R_ij = ±sqrt(3) with 1/6 each, else 0

    Parameters
    ----------
    graph : Graph
        P is that of `random_walk_encoding`, and D the number of edges that end at a node, of the mean.
    channels : int
        Columns of R.
    weights : sequence of float
        Of 1, 2, ... steps.
    power : float
        Below 0, nodes with many edges count less.
    seed : int
        Of R.

    Returns
    -------
    Tensor
        float64, (node, channel).

    Communication
    -------------
    Neighbors, once for each step; with a power also one sum over ranks.

    References
    ----------
    Chen et al., Conference on Information and Knowledge Management (2019), arXiv 1908.11512.
    """
    drawn = uniform(seed, ("fast_rp",), _entries(graph, channels), torch.float64)
    x = 3**0.5 * ((drawn < 1 / 6).double() - ((drawn >= 1 / 6) & (drawn < 1 / 3)).double())
    if power:
        mean = graph.num_edges_global / max(graph.num_points_global, 1)
        x = x * (graph.degrees.double().clamp(min=1) / mean).pow(power)[:, None]
    total = torch.zeros_like(x)
    for weight in weights:
        x = graph.aggregate(graph.at_begins(x), "mean")
        total += weight * x / x.norm(dim=1, keepdim=True).clamp(min=1e-300)
    return total


@named_call
def random_feature_propagation(graph: Graph, channels: int, steps: int, seed: int = 0) -> Tensor:
    """Random features, and what they become as they are passed on and scaled again and again: on the way to the smoothest ones.

        x_k+1 = S x_k / root mean square of each column,      S_ij = edges from j to i / sqrt(d_i d_j)

    Parameters
    ----------
    graph : Graph
        d is the number of edges that end at a node.
    channels : int
        Features.
    steps : int
        How often.
    seed : int
        Of the features, which are normal.

    Returns
    -------
    Tensor
        float64, (node, (steps + 1) channels).

    Communication
    -------------
    Neighbors, and a sum over ranks, for each step.

    References
    ----------
    Eliasof et al., International Conference on Machine Learning (2023), arXiv 2303.02918.
    """
    scale = graph.degrees.double().clamp(min=1).rsqrt()[:, None]
    found = [normal(seed, ("random features",), _entries(graph, channels), torch.float64)]
    for _ in range(steps):
        x = scale * graph.aggregate(graph.at_begins(scale * found[-1]))
        (squares,) = sum_points(graph, graph.comm, lambda u: [u.square().sum(0)], x)
        found.append(x / (squares / max(graph.num_points_global, 1)).sqrt().clamp(min=1e-300))
    return torch.cat(found, 1)


def _entries(graph: Graph, channels: int) -> Tensor:
    """Number of each entry of the whole (node, channel)."""
    return graph.nodes[:, None] * channels + torch.arange(channels, device=graph.device)
