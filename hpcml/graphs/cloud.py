"""Points that move: a graph whose edges join those that are near, dealt anew as they move."""

from collections.abc import Sequence

import numpy as np
import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.core.errors import ShapeError
from hpcml.graphs.edge_numbers import edge_numbers
from hpcml.graphs.graph import Graph
from hpcml.graphs.neighbors import Neighbors
from hpcml.graphs.partitioning import BY_PLACES
from hpcml.graphs.positions import checked_box, checked_edges, checked_positions, first_numbers, inside
from hpcml.graphs.row_bytes import as_rows, as_tensor
from hpcml.mpi.agreement import raise_together
from hpcml.mpi.call import named_call
from hpcml.mpi.meeting import meet
from hpcml.mpi.patient_comm import patient
from hpcml.mpi.world import World
from hpcml.parallel.decomposition import Decomposition
from hpcml.parallel.tiles import tiles_of
from hpcml.topology.block import owners_of
from hpcml.topology.directory import Directory, send_rows


class Cloud(Graph):
    """A graph of points and their neighbors, which follows them as they move; made by `of`.

    Points keep their numbers for good. Models that are built on it go on with it after each `move`.

    Attributes
    ----------
    neighbors : Neighbors
        Says which points are joined.
    method : str
        How points are dealt to ranks.
    """

    neighbors: Neighbors
    method: str

    @classmethod
    @named_call
    def of(
        cls,
        positions: np.ndarray,
        neighbors: Neighbors,
        world: World | MPI.Intracomm,
        box: Sequence[float] | None = None,
        method: str = "bisection",
        data: int = 1,
        device: torch.device | str | None = None,
        same_bits: bool | int = False,
    ) -> "Cloud":
        """Deal points to the ranks and find their neighbors.

        Parameters
        ----------
        positions : ndarray
            (node, 1 to 3): of the points that this rank has read; numbered through the ranks of a group. There may be none.
        neighbors : Neighbors
            `Within` a radius, the `Nearest`, or a function of one's own with the same arguments.
        box : sequence of float, optional
            For each coordinate the length after which it comes again, 0 where it does not. Points outside are moved into it.
        world, data, device, same_bits
            As for `Graph.deal`.
        method : str
            ``bisection`` or ``curve``, at each move again.

        Raises
        ------
        ShapeError
            On every rank: another shape, positions that are not finite, an unknown method, neighbors that are not as `Neighbors` says.

        Communication
        -------------
        Collective. No rank ever holds more than its share, and what lies near it.

        Examples
        --------
        >>> from hpcml.graphs import Within
        >>> cloud = Cloud.of(np.array([[0.1], [0.3], [0.9]]), Within(0.25), MPI.COMM_SELF, box=(1.0,))
        >>> cloud.edge_index.tolist()
        [[1, 2, 0, 0], [0, 0, 1, 2]]
        """
        shared = Decomposition.of(world, data, device, same_bits)
        comm = patient(shared.comm)
        with raise_together(comm):
            points = checked_positions(positions)
            lengths = checked_box(box, points.shape[1])
            if method not in BY_PLACES:
                raise ShapeError(f"points that move are dealt by {' or '.join(BY_PLACES)}, got {method!r}")
        meet(comm, "points dealt", method)
        first, _, total = first_numbers(points, np.zeros((2, 0), np.int64), comm, lengths)
        cloud = cls.__new__(cls)
        cloud.neighbors, cloud.method = neighbors, method
        cloud._place(shared, inside(points, lengths), np.arange(first, first + len(points)), (), total, lengths)
        return cloud

    @named_call
    def move(self, positions: Tensor, *fields: Tensor) -> tuple[Tensor, ...]:
        """Go on with points in other places: deal them anew, and find who is near now.

        Parameters
        ----------
        positions : Tensor
            (node, dim): where this rank's points are now.
        *fields : Tensor
            ([sample,] node, channel): values at them.

        Returns
        -------
        tuple of Tensor
            These fields at the points that this rank owns now, with no gradient.

        Raises
        ------
        ShapeError
            On every rank: another shape, positions that are not finite.

        Communication
        -------------
        Collective: all to all, the points that change ranks and what they carry; as `of` for the neighbors. What the former plan held, of
        messages and of shared memory, is freed.
        """
        shared, comm = self._shared.open(), patient(self.comm)
        with raise_together(comm):
            points = checked_positions(positions.detach().cpu().numpy())
            if points.shape != tuple(self.positions.shape) or any(field.shape[-2] != len(points) for field in fields):
                shapes = [tuple(field.shape) for field in fields]
                raise ShapeError(f"positions are {tuple(self.positions.shape)}, fields ([sample,] {len(points)}, channel): got {shapes}")
        first = [field.movedim(-2, 0) for field in fields]
        meet(comm, "fields of points", *((field.dtype, tuple(field.shape[1:])) for field in first))
        self.forget()
        rows, numbers, total = [as_rows(field) for field in first], self.nodes.cpu().numpy(), self.num_points_global
        moved = self._place(shared, inside(points, self.box), numbers, rows, total, self.box)
        came = [as_tensor(row, field.dtype, tuple(field.shape[1:])) for row, field in zip(moved, first, strict=True)]
        return tuple(field.movedim(0, -2).to(self.device) for field in came)

    def forget(self) -> None:
        """Free what is known of where the points are.

        Communication
        -------------
        Local.
        """
        self.__dict__.pop("along", None)
        self._shared.forget()  # a cloud shares its communicators with nothing but what is made of it

    def _place(
        self,
        shared: Decomposition,
        points: np.ndarray,
        numbers: np.ndarray,
        rows: Sequence[np.ndarray],
        total: int,
        box: tuple[float, ...] | None,
    ) -> list[np.ndarray]:
        """Deal points and what they carry, and join them."""
        comm = patient(shared.comm)
        tiles = self.tiles or tiles_of(shared.same_bits, total, comm)
        num_parts = comm.size if tiles is None else tiles.total
        parts = BY_PLACES[self.method](points, numbers, num_parts, comm)
        numbers, parts, points, *rows = send_rows(owners_of(parts, num_parts, comm.size), comm, numbers, parts, points, *rows)
        owners = Directory(numbers, np.full(len(numbers), comm.rank), total, comm)
        edges = self.neighbors(points, numbers, comm, box)
        with raise_together(comm):
            edges = _checked_neighbors(edges, numbers, total)
        super().__init__(shared, (numbers, parts, points), (edges.T, edge_numbers(edges, numbers, total, comm)), owners, tiles, box)
        order = np.lexsort((numbers, parts))
        return [row[order] for row in rows]


def _checked_neighbors(edges: np.ndarray, own: np.ndarray, total: int) -> np.ndarray:
    """Edges as `Neighbors` gives them; `ShapeError` for others."""
    begins, ends = checked = checked_edges(edges)
    if begins.size and not 0 <= begins.min() <= begins.max() < total:
        raise ShapeError(f"neighbors are nodes {begins.min()} to {begins.max()}: expected global numbers below {total}")
    foreign, rise = ends[~np.isin(ends, own)], np.diff(ends)
    if foreign.size or (rise < 0).any() or (np.diff(begins)[rise == 0] < 0).any():
        what = f"one that ends at node {foreign[0]} of another rank" if foreign.size else "another order"
        raise ShapeError(f"neighbors are edges that end at this rank's points, by where they end and then by where they begin; got {what}")
    return checked
