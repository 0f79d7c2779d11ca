"""The edges that end at a rank's nodes and at their ghosts: all that a layer reads which asks neighbors for their neighbors."""

import numpy as np
import torch
from torch import Tensor

from hpcml.graphs.ghost_plan import GhostPlan, messages_of, places_of
from hpcml.graphs.graph import Graph
from hpcml.topology.directory import send_rows


def two_hops(graph: Graph) -> "TwoHops":
    """Part of a graph around this rank's nodes that is two edges deep, made at the first call.

    Communication
    -------------
    That of making a `TwoHops`, once for each graph.
    """
    around: TwoHops = graph.once("two hops", lambda tag: TwoHops(graph, tag))
    if around.made_of is not graph.edge_index:  # of before points moved and the edges were found anew
        graph.release("two hops")
        graph.release("edges of two hops")
        around = graph.once("two hops", lambda tag: TwoHops(graph, tag))
    return around


class TwoHops:
    """Part of a graph around a rank's nodes that is two edges deep.

    Parameters
    ----------
    graph : Graph
        The graph.
    tag : int
        Number of its exchanges, the same on all ranks; it has the next one too.

    Attributes
    ----------
    made_of : Tensor
        The graph's own ``edge_index`` at that time.
    edge_index : Tensor
        int64, (2, edge): among own nodes and then all ghosts, first and second; in the order of the nodes at which edges end, of the global
        numbers of those at which they begin, and of their own.

    Communication
    -------------
    Making one: collective, all to all, no more than the edges. `nodes` and `edges`: neighbors and theirs, in the gradient too.
    """

    def __init__(self, graph: Graph, tag: int) -> None:
        self.made_of, comm, owners = graph.edge_index, graph.comm, graph.owners
        own, ghosts, edges, (begin, end) = (part.cpu().numpy() for part in (graph.nodes, graph.ghosts, graph.edges, graph.edge_index))
        begins, ends = np.concatenate([own, ghosts])[begin], own[end]
        ranks = owners.ask(ghosts)
        asked, asker = send_rows(ranks, comm, ghosts, np.full(len(ghosts), comm.rank))
        firsts, lasts = (np.searchsorted(end, places_of(own, asked), side=side) for side in ("left", "right"))  # edges go by their ends
        rows = np.concatenate([np.arange(first, last) for first, last in zip(firsts, lasts, strict=True)] or [np.zeros(0, np.int64)])
        came = send_rows(np.repeat(asker, lasts - firsts), comm, begins[rows], ends[rows], edges[rows])
        all_begins, all_ends, numbers = (np.concatenate(parts) for parts in zip((begins, ends, edges), came, strict=True))
        foreign = np.setdiff1d(np.concatenate([all_begins, ghosts]), own)
        owner = owners.ask(foreign)
        by_rank = np.lexsort((foreign, owner))
        foreign, owner = foreign[by_rank], owner[by_rank]
        known = np.concatenate([own, foreign])
        from_, to = places_of(known, all_begins), places_of(known, all_ends)
        order = np.lexsort((numbers, all_begins, to))
        self.edge_index = torch.from_numpy(np.stack([from_[order], to[order]])).to(graph.device)
        edge_owner = owners.ask(all_ends[len(edges) :])
        edges_by_rank = np.lexsort((numbers[len(edges) :], edge_owner))
        come_so = np.concatenate([np.arange(len(edges)), len(edges) + edges_by_rank])
        self._edge_order = torch.from_numpy(np.argsort(come_so)[order]).to(graph.device)
        self._nodes = self._plan(graph, (own, foreign, owner), tag)
        of_edges = edges, numbers[come_so][len(edges) :], edge_owner[edges_by_rank]
        self._edges = lambda: graph.once("edges of two hops", lambda tag: self._plan(graph, of_edges, tag))

    @staticmethod
    def _plan(graph: Graph, rows: tuple[np.ndarray, np.ndarray, np.ndarray], tag: int) -> GhostPlan:
        """For rows of own numbers, foreign numbers, and who owns these."""
        return GhostPlan(graph.comm, *messages_of(*rows, graph.comm, graph.device), len(rows[0]), tag)

    def nodes(self, x: Tensor) -> Tensor:
        """Values of own nodes and then of all ghosts, (node + ghost, ...), of those of own nodes."""
        return torch.cat([x, self._nodes.ghosts(x)])

    def edges(self, values: Tensor) -> Tensor:
        """Values of all edges, (edge, ...), of those of own edges."""
        return torch.cat([values, self._edges().ghosts(values)])[self._edge_order]

    def close(self) -> None:
        """Free requests and shared memory."""
        self._nodes.close()
