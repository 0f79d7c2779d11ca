"""A graph whose nodes are dealt to ranks, with the edges that end at them."""

from collections.abc import Callable, Hashable, Sequence
from functools import cached_property, partial
from typing import Self, cast

import numpy as np
import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.graphs.aggregation import aggregate, on_rows, softmax, take_rows
from hpcml.graphs.ghost_plan import GhostPlan, messages_of, places_of
from hpcml.graphs.partitioning import check_method, parts_of
from hpcml.graphs.positions import checked_box, checked_graph, first_numbers, shortest
from hpcml.graphs.schedule import Scheduled
from hpcml.graphs.tiled_begins import TiledBegins
from hpcml.graphs.whole import gather, scatter, whole_arrays
from hpcml.kernels.segment import Edges
from hpcml.mpi.agreement import raise_together
from hpcml.mpi.call import named_call
from hpcml.mpi.patient_comm import patient
from hpcml.mpi.reductions import all_sum
from hpcml.mpi.world import World
from hpcml.parallel.decomposition import Decomposition
from hpcml.parallel.tiles import Tiles, refuse_tiles, tiles_of
from hpcml.topology.block import owners_of
from hpcml.topology.directory import Directory, send_rows


class Graph(Scheduled):
    """One rank's part of a graph; made by `Graph.deal`. A `hpcml.parallel.space.Space`, whose points are the nodes.

    Nodes and edges have global numbers, in the order in which the ranks gave them. A rank owns some nodes and all edges that end at them;
    both lie in an order that depends on the graph alone: nodes by number, edges by the node at which they end, then by that at which they
    begin, then by number. So sums over the edges of a node are sums in one order, whoever owns it. With tiles, nodes lie tile by tile, and
    the edges that end in a tile are its edges.

    Attributes
    ----------
    nodes, edges : Tensor
        int64: global numbers of this rank's nodes and edges.
    ghosts : Tensor
        int64: global numbers of the nodes of other ranks at which this rank's edges begin.
    edge_index : Tensor
        int64, (2, edge): where each edge begins, among own nodes and then ghosts, and where it ends, among own nodes.
    positions : Tensor
        float64, (node, dim): of this rank's nodes.
    num_edges_global : int
        Of all ranks.
    owners : Directory
        Tells the rank of any node.
    box : tuple of float, optional
        Lengths along which positions are periodic, 0 where they are not.

    Notes
    -----
    Fields are ([sample,] node, channel), values on edges ([sample,] edge, channel).
    """

    channel_dim = -1

    def __init__(
        self,
        shared: Decomposition,
        nodes: tuple[np.ndarray, ...],
        edges: tuple[np.ndarray, ...],
        owners: Directory,
        tiles: Tiles | None,
        box: tuple[float, ...] | None = None,
        key: Hashable = "graph",
    ) -> None:
        (own, parts, positions), (ends, numbers), self.box = nodes, edges, box
        comm, self.owners, by_part = shared.comm, owners, np.lexsort((own, parts))
        own, self._parts = own[by_part], parts[by_part]
        super().__init__(shared, key, (len(own),), (owners.total,))
        end_places = places_of(own, ends[:, 1])
        order = np.lexsort((numbers, ends[:, 0], end_places))
        begins, end_places = ends[order, 0], end_places[order]
        foreign = np.setdiff1d(begins, own)
        ranks = owners.ask(foreign)
        by_rank = np.lexsort((foreign, ranks))
        ghosts, ranks = foreign[by_rank], ranks[by_rank]
        known = np.concatenate([own, ghosts])
        places = places_of(known, begins), end_places
        self.nodes, self.edges, self.ghosts, self.positions, self.edge_index = (
            torch.from_numpy(array).to(self.device) for array in (own, numbers[order], ghosts, positions[by_part], np.stack(places))
        )
        self.index, self.point_index = (..., self.nodes, slice(None)), self.nodes
        self.num_edges_global = all_sum(len(numbers), comm)
        begin, end = map(torch.from_numpy, places)
        each = torch.arange(len(numbers))
        lists = Edges.between(begin, each, len(known), len(each)), Edges.between(end, each, len(own), len(each)), Edges.into(end, len(own))
        self._begins, self._ends, self._into = (Edges(e.first.to(self.device), e.source.to(self.device), e.num_rows) for e in lists)
        messages = messages_of(own, ghosts, ranks, comm, self.device)
        self._plan: GhostPlan = self.once("ghosts", lambda tag: GhostPlan(comm, *messages, len(own), tag))
        if tiles is not None:
            self.tiles, of_edges, parts = tiles, self._parts[end_places], self._parts
            self.tile_sizes = {name: tiles.counts(of) for name, of in (("field", parts), ("points", parts), ("edges", of_edges))}
            make = partial(TiledBegins, comm, self._plan, self._begins, of_edges, known, ranks)
            self._tiled: TiledBegins = self.once("begins", make)

    @classmethod
    @named_call
    def deal(
        cls,
        positions: np.ndarray,
        edges: np.ndarray,
        world: World | MPI.Intracomm,
        method: str | np.ndarray = "bisection",
        data: int = 1,
        device: torch.device | str | None = None,
        same_bits: bool | int = False,
        box: Sequence[float] | None = None,
    ) -> "Graph":
        """Deal nodes and edges to the ranks.

        Parameters
        ----------
        positions : ndarray
            (node, 1 to 3): those of the nodes that this rank has read; numbered through the ranks of a group. There may be none.
        edges : ndarray
            int64, (2, edge): global numbers of the nodes at which the edges that this rank has read begin and end; any edges, repeated ones
            too, none at all.
        world : World or MPI.Intracomm
            All ranks.
        method : str or ndarray
            Of `hpcml.graphs.partition`, or for each node given here the rank of its group that is to own it.
        data, device
            As for `hpcml.fields.decompose`; every group has the whole graph.
        same_bits : bool or int
            Whether work is cut into tiles, so that what is computed has the same bits on any number of ranks; or into how many. By default
            there are 8, or 2^k of about a thousand nodes. ``method`` then says the tile of each node.
        box : sequence of float, optional
            For each coordinate the length after which it comes again, 0 where it does not. Edges then lie the shortest way.

        Raises
        ------
        ShapeError
            On every rank: other shapes, positions that are not finite, edges of nodes that do not exist, an unknown method.

        Communication
        -------------
        Collective. No rank ever holds more than its share and its ghosts; see `hpcml.topology.directory`.

        Examples
        --------
        >>> graph = Graph.deal(np.array([[0.0], [1.0], [2.0]]), np.array([[0, 2], [1, 1]]), MPI.COMM_SELF)
        >>> graph.edge_index.tolist(), graph.ghosts.tolist()
        ([[0, 2], [1, 1]], [])
        """
        return cls.deal_within(Decomposition.of(world, data, device, same_bits), positions, edges, method, box)

    @classmethod
    def deal_within(
        cls,
        shared: Decomposition,
        positions: np.ndarray,
        edges: np.ndarray,
        method: str | np.ndarray = "bisection",
        box: Sequence[float] | None = None,
    ) -> Self:
        """Deal nodes and edges, see `deal`, to ranks that have communicators already.

        Communication
        -------------
        As `deal`.
        """
        comm = patient(shared.comm)
        with raise_together(comm):
            points, ends = checked_graph(positions, edges)
            box = checked_box(box, points.shape[1])
        first, first_edge, total = first_numbers(points, ends, comm, box)
        with raise_together(comm):
            tiles = tiles_of(shared.same_bits, total, comm)
            num_parts = comm.size if tiles is None else tiles.total
            check_method(method, len(points), num_parts)
        numbers = np.arange(first, first + len(points))
        parts = parts_of(points, ends, num_parts, comm, method)
        ranks = owners_of(parts, num_parts, comm.size)
        owners, nodes = Directory(numbers, ranks, total, comm), send_rows(ranks, comm, numbers, parts, points)
        moved = send_rows(owners.ask(ends[1]), comm, ends.T, np.arange(first_edge, first_edge + ends.shape[1]))
        return cls(shared, tuple(nodes), tuple(moved), owners, tiles, box)

    def __repr__(self) -> str:
        return f"Graph({self.num_points_global} nodes, {self.num_edges_global} edges on {self.comm.size} ranks)"

    def serial(self) -> "Graph":
        """The whole graph on this rank alone, nodes and edges by number; the same object at every call.

        Communication
        -------------
        The first time collective: the whole graph comes to every rank.
        """
        spaces, key = self._shared.spaces, ("serial", self._key)
        if key not in spaces:
            spaces[key] = Graph.deal(*whole_arrays(self), MPI.COMM_SELF, device=self.device, box=self.box)
        return cast(Graph, spaces[key])

    def joined(self, key: Hashable, find: Callable[[], tuple[np.ndarray, np.ndarray]]) -> "Graph":
        """The same nodes with other edges, global numbers (2, edge) of this rank's and their own; closed with this graph.

        Communication
        -------------
        The first time with a key collective: the numbers of its ghosts.
        """
        key = key, self._key
        if key not in self._shared.spaces:
            edges, numbers = find()
            nodes = self.nodes.cpu().numpy(), self._parts, self.positions.cpu().numpy()
            self._shared.spaces[key] = Graph(self._shared, nodes, (edges.T, numbers), self.owners, self.tiles, self.box, key)
        graph: Graph = self._shared.spaces[key]
        return graph

    @named_call
    def with_ghosts(self, x: Tensor) -> Tensor:
        """Values of own nodes and then of ghosts, ([sample,] node + ghost, channel), of those of own nodes, ([sample,] node, channel).

        Communication
        -------------
        Neighbors, in the gradient too.
        """
        if self.tiles is not None and x.requires_grad and torch.is_grad_enabled():
            refuse_tiles(self.comm, "the sum of the gradients of ghosts")
        return torch.cat([x, self.schedule.ghosts(self._plan, x.movedim(-2, 0)).movedim(0, -2)], -2)

    @cached_property
    def along(self) -> Tensor:
        """How each edge lies: the position where it begins less that where it ends, the shortest way in a box, float64, (edge, dim).

        Communication
        -------------
        Neighbors, the first time.
        """
        return shortest(self.at_begins(self.positions) - self.at_ends(self.positions), self.box)

    @property
    def degrees(self) -> Tensor:
        """Edges that end at each of this rank's nodes, int64, (node,)."""
        return self._into.first.diff()

    def at_begins(self, x: Tensor) -> Tensor:
        """Values of the node at which each edge begins, ([sample,] edge, channel), of those of own nodes.

        Communication
        -------------
        Neighbors, in the gradient too.
        """
        if self.tiles is not None:
            return on_rows(self._tiled.values, x)
        return on_rows(take_rows, self.with_ghosts(x), self._begins)

    def at_ends(self, x: Tensor) -> Tensor:
        """Values of the node at which each edge ends, ([sample,] edge, channel), of those of own nodes.

        Communication
        -------------
        Local.
        """
        return on_rows(take_rows, x, self._ends)

    def aggregate(self, messages: Tensor, how: str = "sum") -> Tensor:
        """What comes to each node along the edges that end there.

        Parameters
        ----------
        messages : Tensor
            ([sample,] edge, channel).
        how : str
            ``sum``, ``mean`` or ``max``; a node without an edge gets zeros.

        Raises
        ------
        ConfigError
            For another name.

        Communication
        -------------
        Local: a rank owns all edges of its nodes.
        """
        return on_rows(aggregate, messages, self.edge_index[1], self._into, how)

    def softmax(self, scores: Tensor) -> Tensor:
        """Weights of the edges of their scores, ([sample,] edge, channel): those of the edges that end at a node sum to one.

        Communication
        -------------
        Local.
        """
        return on_rows(softmax, scores, self.edge_index[1], self._into, self.tile_sizes.get("edges"))

    @named_call
    def gather(self, x: Tensor, root: int | None = None) -> Tensor:
        """The whole field, nodes by number, of all parts; see `hpcml.graphs.whole.gather`."""
        return gather(self, x, root)

    @named_call
    def scatter(self, x: Tensor | None, root: int = 0) -> Tensor:
        """Deal a whole field on one rank; see `hpcml.graphs.whole.scatter`."""
        return scatter(self, x, root)
