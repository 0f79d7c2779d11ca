"""A layer of PyTorch Geometric, or any module that is called as one, on a graph that ranks share."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from hpcml.graphs.graph import Graph
from hpcml.graphs.two_hops import two_hops
from hpcml.models.layers.edge_index_probe import reach_of
from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.parameters import replicated_together, share_parameters
from hpcml.models.layers.reach import check_field
from hpcml.mpi.reductions import all_max


@numbered
class EdgeIndexLayer(nn.Module):
    """Call ``module(x, edge_index, ...)``, unchanged, and give what it gives on the whole graph, or refuse it by name.

    How much of the graph the module reads is tried out, not believed: at its first call a copy of it is run on a small random graph, and on
    parts of this one. If the neighbors of a node suffice, it gets a rank's nodes, their ghosts and the edges that end at the nodes. If it
    needs neighbors of neighbors, as for the degrees by which `GCNConv` divides, it gets those of the ghosts as well. Whatever reads more
    than that, draws random numbers of its own, or keeps from one call what it uses in the next (``cached=True``), is refused on any number
    of ranks.

    Parameters
    ----------
    graph : Graph
        Whose edges.
    module : Module
        Called as ``module(x, edge_index, *edge values)`` with x of (node, channel) and edge_index of (2, edge); gives a row for each node.

    Raises
    ------
    ConfigError
        At a call, on every rank: for a module that reads more of a graph, is random, keeps something, or gives something else.
    ShapeError
        For a tensor that is not this rank's part of a field.

    Communication
    -------------
    Forward: ghosts, between neighbors; in a module that needs two hops also those of neighbors' neighbors. Backward: as much, and one
    all-reduce over graph.world_comm for all parameters together. The first call with values of edges that are integers: one all-reduce of
    their largest.

    Notes
    -----
    The state dict is the module's, under ``module.``. Samples are computed one after the other, since not every layer takes several.

    Examples
    --------
    >>> import numpy as np
    >>> from mpi4py import MPI
    >>> graph = Graph.deal(np.array([[0.0], [1.0], [2.0]]), np.array([[0, 2], [1, 1]]), MPI.COMM_SELF)
    >>> class Sum(nn.Module):
    ...     def forward(self, x, edge_index):
    ...         return x.index_add(0, edge_index[1], x[edge_index[0]])
    >>> EdgeIndexLayer(graph, Sum())(torch.tensor([[1.0], [2.0], [4.0]])).flatten().tolist()
    [1.0, 7.0, 4.0]
    """

    shares_gradients = True

    def __init__(self, graph: Graph, module: nn.Module) -> None:
        super().__init__()
        self.space, self.module = graph, module
        self._reaches: dict[Any, int] = {}
        share_parameters(module, graph.world_comm)

    def forward(self, x: Tensor, *edge_values: Tensor) -> Tensor:
        """Field ([sample,] node, channel) for such a field, and values (edge, ...) of this rank's edges that the module takes."""
        graph = self.space
        check_field(x, graph)
        hops = self._reach(x, edge_values)
        points = graph.points(x)
        given = points if len(points) else torch.cat([points, points.new_zeros(1, *points.shape[1:])])  # of no sample: what form has it?
        with replicated_together(self.module, graph.world_comm):
            samples = [self._of_one(each, edge_values, hops) for each in given]
        return graph.as_field_of(torch.stack(samples)[: len(points)], x)

    def _of_one(self, x: Tensor, edge_values: tuple[Tensor, ...], hops: int) -> Tensor:
        graph = self.space
        if hops == 1:
            y = self.module(graph.with_ghosts(x), graph.edge_index, *edge_values)
        else:
            around = two_hops(graph)
            y = self.module(around.nodes(x), around.edge_index, *map(around.edges, edge_values))
        own: Tensor = y[: len(x)]
        return own

    def _reach(self, x: Tensor, edge_values: tuple[Tensor, ...]) -> int:
        """Hops that the module reads, for values of these kinds; the same on every rank."""
        kinds = tuple((value.shape[1:], value.dtype) for value in edge_values)
        key = self.training, x.shape[-1], kinds
        if x.is_meta:
            return 1  # there are no values to try out
        if key not in self._reaches:
            most = [0 if v.is_floating_point() else all_max(int(v.max()) if v.numel() else 0, self.space.comm) for v in edge_values]
            self._reaches[key] = reach_of(self.module, x.shape[-1], kinds, most)
        return self._reaches[key]


def takes_edge_index(module: Any) -> bool:
    """Whether a module, or those of a class, are to be called with ``edge_index``.

    Communication
    -------------
    Local.
    """
    forward = getattr(module, "forward", None)
    return forward is not None and "edge_index" in inspect.signature(forward).parameters
