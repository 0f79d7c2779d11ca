"""Values of the node at which each edge begins, and a gradient that sums over edges in an order of the graph's tiles.

y = F x         row e of y is the row of x of the node at which edge e begins
x = F* y        each tile adds up what its edges have for a node, in their order; the owner adds up the tiles' sums, in theirs
"""

from collections.abc import Sequence

import numpy as np
import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.graphs.aggregation import aggregate, take_rows
from hpcml.graphs.ghost_plan import GhostPlan, bring_back, fetch, places_of
from hpcml.kernels.segment import Edges
from hpcml.parallel.linear import pair, uncompiled
from hpcml.topology.directory import send_rows


class TiledBegins:
    """Which sums of which tiles come to which node.

    Parameters
    ----------
    comm : MPI.Intracomm
        The ranks.
    ghosts : GhostPlan
        Brings the values of foreign nodes.
    begins : Edges
        From rows of own nodes, and then of ghosts, to edges.
    tile_of_edge : ndarray
        int64, (edge,): number of the tile of each.
    nodes : ndarray
        int64: numbers of own nodes, and then of ghosts.
    ranks : ndarray
        int64: owner of each ghost.
    tag : int
        As for `GhostPlan`.

    Communication
    -------------
    Making it: collective, all to all. A value: that of `GhostPlan`. Its gradient: one message to each neighbor, with as many rows as there
    are pairs of a tile and a foreign node at which its edges begin.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        ghosts: GhostPlan,
        begins: Edges,
        tile_of_edge: np.ndarray,
        nodes: np.ndarray,
        ranks: np.ndarray,
        tag: int,
    ) -> None:
        self.ghosts, self.begins, own = ghosts, begins, len(nodes) - len(ranks)
        device = begins.source.device
        places = begins.source.cpu().numpy()
        owners = np.concatenate([np.full(own, -1), ranks])
        # A sum of each tile for each node: own nodes first, then by rank; in the order of tiles and nodes.
        each, sum_of_edge = np.unique(np.stack([owners[places], tile_of_edge, places], 1), axis=0, return_inverse=True)
        rank, tile, place = each.T
        foreign = rank >= 0
        came, came_tile, asker = send_rows(
            rank[foreign], comm, nodes[place[foreign]], tile[foreign], np.full(int(foreign.sum()), comm.rank)
        )
        came_place = places_of(nodes[:own], came)
        send = {int(peer): torch.from_numpy(came_place[asker == peer]).to(device) for peer in np.unique(asker)}
        self.sums = GhostPlan(comm, send, {int(peer): int((rank == peer).sum()) for peer in np.unique(rank[foreign])}, own, tag)
        into, tiles = np.concatenate([place[~foreign], came_place]), np.concatenate([tile[~foreign], came_tile])
        order = np.lexsort((tiles, into))
        self.num_own = int((~foreign).sum())
        self.sum_of_edge, self.order, self.into = (
            torch.from_numpy(a.reshape(-1).astype(np.int64)).to(device) for a in (sum_of_edge, order, into[order])
        )
        self.to_sums, self.to_nodes = Edges.into(self.sum_of_edge, len(each)), Edges.into(self.into, own)

    @uncompiled
    def values(self, x: Tensor) -> Tensor:
        """Rows of edges, (edge, ...), of those of own nodes; differentiable any number of times."""
        return _values(self, x)[0]

    def close(self) -> None:
        """Free requests and shared memory."""
        self.sums.close()


def _forward(plan: TiledBegins, x: Tensor) -> Sequence[Tensor]:
    return (take_rows(torch.cat([x, fetch(plan.ghosts, x)]), plan.begins),)


def _adjoint(plan: TiledBegins, y: Tensor) -> Sequence[Tensor]:
    sums = aggregate(y, plan.sum_of_edge, plan.to_sums, "sum")
    came = bring_back(plan.sums, sums[plan.num_own :])
    every = torch.cat([sums[: plan.num_own], *came.values()])
    return (aggregate(every.index_select(0, plan.order), plan.into, plan.to_nodes, "sum"),)


_values, _ = pair(_forward, _adjoint, batch=(1, 1))
