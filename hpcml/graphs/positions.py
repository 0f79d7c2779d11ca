"""Positions of nodes, and boxes in which coordinates come again after a length."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from mpi4py import MPI

from hpcml.core.errors import ShapeError
from hpcml.mpi.agreement import raise_together
from hpcml.mpi.meeting import meet
from hpcml.mpi.patient_comm import patient

Array = TypeVar("Array", np.ndarray, torch.Tensor)


def checked_positions(positions: np.ndarray) -> np.ndarray:
    """Positions as float64, (node, 1 to 3); `ShapeError` where that is not so, or one is not finite."""
    points = np.asarray(positions, np.float64)
    if points.ndim != 2 or points.shape[1] not in (1, 2, 3):
        raise ShapeError(f"positions are (node, 1 to 3), got an array of shape {points.shape}")
    lost = np.flatnonzero(~np.isfinite(points).all(1))
    if len(lost):
        raise ShapeError(f"node {lost[0]} of those given here lies at {points[lost[0]]}")
    return points


def checked_graph(positions: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions, see `checked_positions`, and edges, see `checked_edges`."""
    return checked_positions(positions), checked_edges(edges)


def checked_edges(edges: np.ndarray) -> np.ndarray:
    """Edges as int64, (2, edge); `ShapeError` where they are not."""
    ends = np.asarray(edges)
    if ends.ndim != 2 or len(ends) != 2 or (ends.size and ends.dtype.kind not in "iu"):
        raise ShapeError(f"edges are integers, (2, edge), got {ends.dtype} of shape {ends.shape}")
    return ends.astype(np.int64)


def first_numbers(points: np.ndarray, ends: np.ndarray, comm: MPI.Intracomm, box: tuple[float, ...] | None = None) -> tuple[int, int, int]:
    """Numbers of the first node and the first edge of those given here, and how many nodes all ranks have given.

    Raises
    ------
    ShapeError
        On every rank, for edges of nodes that do not exist, and other coordinates on one rank than on another.
    CommunicationError
        On every rank, for another box on one rank than on another.

    Communication
    -------------
    Collective.
    """
    meet(comm, "positions in a box", box)
    counts = np.array(patient(comm).allgather((len(points), ends.shape[1], points.shape[1])))
    first, first_edge, _ = counts[: comm.rank].sum(0).tolist()
    total = int(counts[:, 0].sum())
    with raise_together(comm):
        if len(set(counts[:, 2].tolist())) > 1:
            raise ShapeError(f"positions have as many coordinates on every rank, got {counts[:, 2].tolist()}")
        if ends.size and not 0 <= ends.min() <= ends.max() < total:
            raise ShapeError(f"edges lead from and to nodes {ends.min()} to {ends.max()}: expected global numbers below {total}")
    return first, first_edge, total


def checked_box(box: Sequence[float] | np.ndarray | None, dims: int) -> tuple[float, ...] | None:
    """Box as numbers of Python; `ShapeError` unless there is a length for each coordinate, not negative."""
    if box is None:
        return None
    if len(box) != dims or not all(0 <= length < float("inf") for length in box):
        raise ShapeError(f"a periodic box has {dims} lengths, 0 along coordinates that do not come again; got {box}")
    return tuple(map(float, box))


def shortest(difference: Array, box: Sequence[float] | None) -> Array:
    """Difference of positions, (..., dim), by the shortest way.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> shortest(np.array([0.75, 0.75]), (1.0, 0.0)).tolist()
    [-0.25, 0.75]
    """
    if box is None or not any(box):
        return difference
    xp = torch if isinstance(difference, torch.Tensor) else np
    ways = [axis - length * xp.round(axis / length) if length else axis for axis, length in zip(_axes(difference), box, strict=True)]
    return xp.stack(ways, -1)  # type: ignore[no-any-return]


def inside(points: np.ndarray, box: Sequence[float] | None) -> np.ndarray:
    """Points moved by whole lengths to where coordinates are at least 0 and less than the length.

    Communication
    -------------
    Local.
    """
    if box is None or not any(box):
        return points
    lengths = np.array(box)
    moved = np.where(lengths > 0, np.mod(points, np.where(lengths > 0, lengths, 1.0)), points)
    return np.where((lengths > 0) & (moved >= lengths), 0.0, moved)  # a tiny negative number is rounded up to the length


def _axes(values: Array) -> list[Array]:
    return [values[..., axis] for axis in range(values.shape[-1])]
