"""Patches of a graph, which do not depend on ranks: a coarse level whose nodes are means."""

import torch
from torch import Tensor

from hpcml.core.errors import ConfigError
from hpcml.graphs.graph import Graph
from hpcml.parallel.collectives import all_reduce
from hpcml.topology.bisection import recursive_bisection


class Patches:
    """A graph cut into parts of one size by recursive bisection, wherever its nodes lie.

    Parameters
    ----------
    graph : Graph
        The graph.
    count : int
        Number of patches.

    Attributes
    ----------
    of_node : Tensor
        int64, (node,): the patch of each of this rank's nodes.

    Raises
    ------
    ConfigError
        For less than one patch, or more than there are nodes.

    Communication
    -------------
    Making them: collective, that of `hpcml.topology.bisection.recursive_bisection`.
    """

    def __init__(self, graph: Graph, count: int) -> None:
        if not 1 <= count <= graph.num_points_global:
            raise ConfigError(f"a graph of {graph.num_points_global} nodes cannot be cut into {count} patches: expected 1 to as many")
        self.graph, self.count, self.made_of = graph, count, graph.positions
        if graph.device.type == "meta":
            self.of_node = torch.zeros_like(graph.nodes)  # there are no places to go by
            return
        positions, nodes = (part.cpu().numpy() for part in (graph.positions, graph.nodes))
        self.of_node = torch.from_numpy(recursive_bisection(positions, nodes, count, graph.comm)).to(graph.device)

    def means(self, x: Tensor) -> Tensor:
        """Mean over the nodes of each patch, (sample, patch, channel), the same on every rank, of (sample, node, channel).

        Communication
        -------------
        Collective over graph.comm: one all-reduce of patch x (channel + 1) numbers for each sample, backward too.
        """
        wide = torch.cat([x, x.new_ones(*x.shape[:-1], 1)], -1).to(torch.promote_types(x.dtype, torch.float32))
        sums = all_reduce(self.graph.comm, wide.new_zeros(len(x), self.count, wide.shape[-1]).index_add(1, self.of_node, wide))
        return (sums[..., :-1] / sums[..., -1:]).to(x.dtype)

    def at_nodes(self, tokens: Tensor) -> Tensor:
        """What the patch of each node has, (sample, node, channel), of (sample, patch, channel).

        Communication
        -------------
        Local.
        """
        return tokens.index_select(1, self.of_node)

    def close(self) -> None:
        """Nothing is held."""


def patches_of(graph: Graph, count: int) -> Patches:
    """Patches of a graph, made at the first call.

    Communication
    -------------
    That of making `Patches`, once for each graph.
    """
    key = "patches", count
    patches: Patches = graph.once(key, lambda _: Patches(graph, count))
    if patches.made_of is not graph.positions:  # of before points moved
        graph.release(key)
        patches = graph.once(key, lambda _: Patches(graph, count))
    return patches
