"""Edges between points that are near: all within a radius, or the nearest few; each rank searches for those of its points.

A point asks the ranks in whose boxes there may be what it seeks, itself among them; each answers from a tree of its own points. What is
near is decided by one formula, in the same arithmetic whoever decides, so edges do not depend on who has which points.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import numpy as np
from mpi4py import MPI

from hpcml.core.errors import ConfigError, ShapeError
from hpcml.core.optional_module import optional_module
from hpcml.graphs.positions import checked_box, checked_positions, inside, shortest
from hpcml.graphs.room import room_for
from hpcml.mpi.agreement import raise_together
from hpcml.mpi.call import named_call
from hpcml.mpi.meeting import meet
from hpcml.mpi.patient_comm import patient
from hpcml.topology.directory import send_rows

_CHUNK = 20_000
"""Points whose neighbors are listed at a time: lists of Python are large."""
_WIDER = 1 + 1e-9
"""So that what the tree rounds is not lost; the formula then decides."""


class Neighbors(Protocol):
    """Finds edges between points of all ranks; see `Within` for what it is called with."""

    def __call__(self, points: np.ndarray, numbers: np.ndarray, comm: MPI.Intracomm, box: Sequence[float] | None) -> np.ndarray:
        """Edges that end at this rank's points, by number, int64, (2, edge); sorted by where they end, then by where they begin."""


@dataclass(frozen=True, slots=True)
class Within:
    """An edge from every other point that is at most so far away.

    Attributes
    ----------
    radius : float
        At most half of any length of a periodic box.
    """

    radius: float

    def __post_init__(self) -> None:
        if not 0 < self.radius < math.inf:
            raise ConfigError(f"a radius is a positive number, got {self.radius}")

    @named_call
    def __call__(self, points: np.ndarray, numbers: np.ndarray, comm: MPI.Intracomm, box: Sequence[float] | None = None) -> np.ndarray:
        """Edges that end at this rank's points.

        Parameters
        ----------
        points : ndarray
            float64, (point, dim): of this rank.
        numbers : ndarray
            int64, (point,): no two of all ranks are alike.
        comm : mpi4py.MPI.Intracomm
            The ranks.
        box : sequence of float, optional
            For each coordinate the length after which it comes again, 0 where it does not.

        Returns
        -------
        ndarray
            int64, (2, edge): numbers of points; by where they end, and then by where they begin.

        Raises
        ------
        ConfigError
            For a radius of more than half of the box: a point would be a neighbor twice. On every rank, if one has no memory for the edges.

        Communication
        -------------
        Collective: all to all, points that lie near other ranks' boxes, and the edges found for them.
        """
        field = _Field.of(self, points, numbers, comm, box)
        if box is not None and self.radius > min((length / 2 for length in box if length), default=math.inf):
            raise ConfigError(f"a radius of {self.radius} is more than half of the box {tuple(box)}: take a smaller one, or a larger box")
        edges, _ = field.found(np.full(len(points), self.radius), lambda _, squares: squares <= self.radius**2)
        return edges


@dataclass(frozen=True, slots=True)
class Nearest:
    """An edge from each of the nearest other points; of points that are equally far those of lower numbers.

    Attributes
    ----------
    count : int
        How many; all, where there are fewer.
    """

    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"a point has 1 nearest point or more, got {self.count}")

    @named_call
    def __call__(self, points: np.ndarray, numbers: np.ndarray, comm: MPI.Intracomm, box: Sequence[float] | None = None) -> np.ndarray:
        """Edges that end at this rank's points; see `Within`.

        Communication
        -------------
        Collective: all to all, points that are nearer to other ranks' boxes than to their own neighbors, and the edges found for them.
        """
        field = _Field.of(self, points, numbers, comm, box)
        reach = field.distances(self.count) * _WIDER
        edges, squares = field.found(reach, lambda edges, squares: _first_of_each(edges, squares, self.count))
        return edges[:, _first_of_each(edges, squares, self.count)]


@dataclass(frozen=True, eq=False)
class _Field:
    """Points of this rank, a tree of them, and the boxes around those of all ranks."""

    points: np.ndarray
    numbers: np.ndarray
    comm: MPI.Intracomm
    box: Sequence[float] | None
    tree: Any
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, sought: Neighbors, points: np.ndarray, numbers: np.ndarray, comm: MPI.Intracomm, box: Sequence[float] | None) -> "_Field":
        comm = patient(comm)
        with raise_together(comm):
            points = checked_positions(points)
            box = checked_box(box, points.shape[1])
            if np.shape(numbers) != (len(points),):
                raise ShapeError(f"{len(points)} points have as many numbers, got {np.shape(numbers)}")
            spatial = optional_module("scipy.spatial", "neighbors need the package scipy", "'hpcml[graphs]'")
        meet(comm, "neighbors", sought, points.shape[1], box)
        points = inside(points, box)
        bounds = np.stack([points.min(0, initial=np.inf), points.max(0, initial=-np.inf)])
        low, high = np.array(comm.allgather(bounds)).transpose(1, 0, 2)
        tree = spatial.cKDTree(points, boxsize=box) if len(points) else None
        return cls(points, numbers, comm, box, tree, low, high)

    def distances(self, count: int) -> np.ndarray:
        """How far the last of so many others of this rank is from each point; that of everything, where there are fewer."""
        far = np.linalg.norm(np.where(np.isfinite(self.low), self.high, 0).max(0) - np.where(np.isfinite(self.low), self.low, 0).min(0))
        if self.tree is None or len(self.points) <= count:
            return np.full(len(self.points), 2 * far + 1.0)
        found: np.ndarray = self.tree.query(self.points, [count + 1])[0][:, 0]
        return np.minimum(found + 1e-300, 2 * far + 1.0)

    def found(self, reach: np.ndarray, keep: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Edges to this rank's points from those within reach that are worth keeping, and the squares of their lengths."""
        ranks, rows = self._near(reach)
        home = np.full(len(rows), self.comm.rank)
        points, numbers, reach, home = send_rows(ranks, self.comm, self.points[rows], self.numbers[rows], reach[rows], home)
        with room_for("the edges between all points that are near", "take a smaller radius, fewer neighbors, or more ranks", self.comm):
            kept = [(np.zeros((2, 0), np.int64), np.zeros(0), home[:0])]
            for first in range(0, len(points) if self.tree is not None else 0, _CHUNK):
                of = slice(first, first + _CHUNK)
                lists = self.tree.query_ball_point(points[of], reach[of] * _WIDER, return_sorted=False)
                counts = np.fromiter(map(len, lists), np.int64, len(lists))
                begin, asked = np.fromiter(chain.from_iterable(lists), np.int64, counts.sum()), np.repeat(np.arange(len(lists)), counts)
                edges = np.stack([self.numbers[begin], numbers[of][asked]])
                squares = _squares(shortest(self.points[begin] - points[of][asked], self.box))
                at = np.flatnonzero(edges[0] != edges[1])
                at = at[keep(edges[:, at], squares[at])]
                kept.append((edges[:, at], squares[at], home[of][asked[at]]))
            edges, squares, home = (np.concatenate(of, -1) for of in zip(*kept, strict=True))
        edges, squares = send_rows(home, self.comm, edges.T, squares)
        order = np.lexsort(edges.T)
        return edges[order].T, squares[order]

    def _near(self, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ranks in whose boxes something may lie within reach, and of which point."""
        ranks, rows = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        here, most = (self.low[self.comm.rank], self.high[self.comm.rank]), reach.max(initial=0.0) * _WIDER
        for rank in np.flatnonzero(np.isfinite(self.low).all(1) & (len(reach) > 0)):
            if np.sqrt(self._gaps(*here, rank)) <= most:
                at = np.flatnonzero(np.sqrt(self._gaps(self.points, self.points, rank)) <= reach * _WIDER)
                ranks.append(np.full(len(at), rank))
                rows.append(at)
        return np.concatenate(ranks), np.concatenate(rows)

    def _gaps(self, low: np.ndarray, high: np.ndarray, rank: np.intp) -> np.ndarray:
        """Squares of the distances between boxes (..., dim) and that of a rank."""
        total = np.zeros(low.shape[:-1])
        for axis, length in enumerate(self.box or (0.0,) * low.shape[-1]):
            first, last = self.low[rank, axis], self.high[rank, axis]
            ways = [np.maximum(first + way - high[..., axis], low[..., axis] - last - way) for way in {0.0, length, -length}]
            total += np.square(np.maximum(np.minimum.reduce(ways), 0.0))
        return total


def _squares(vectors: np.ndarray) -> np.ndarray:
    """Sum of squares, axis by axis, so that it is rounded alike whatever else is summed."""
    total = np.zeros(len(vectors))
    for axis in vectors.T:
        total += axis * axis
    return total


def _first_of_each(edges: np.ndarray, squares: np.ndarray, count: int) -> np.ndarray:
    """Which edges are the first so many of those that end at their node, by length and then by where they begin; in the order given."""
    order = np.lexsort((edges[0], squares, edges[1]))
    ends = edges[1, order]
    new = np.concatenate([[True], ends[1:] != ends[:-1]])[: len(ends)]
    place = np.arange(len(ends)) - np.maximum.accumulate(np.where(new, np.arange(len(ends)), 0))
    kept: np.ndarray = np.sort(order[place < count])
    return kept
