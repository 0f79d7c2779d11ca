"""Points and the cells between them: a mesh as it is read or made, whole, on one rank."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from hpcml.core.errors import ShapeError
from hpcml.graphs.cell_kinds import CELL_KINDS
from hpcml.topology.pairs import both_ways, distinct_pairs

NO_LINKS = np.zeros((2, 0), np.int64)
BOUNDARY = ("interior", "boundary")
"""Types of nodes where nothing else is known."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """A mesh of cells of any kinds, in any mixture; `hpcml.graphs.MeshGraph` deals it to ranks.

    Attributes
    ----------
    points : ndarray
        float64, (node, 2 or 3).
    cells : mapping of str to ndarray
        By kind, of ``line``, ``triangle``, ``quadrilateral``, ``tetrahedron``, ``pyramid``, ``wedge``, ``hexahedron``: the nodes at the
        corners, int64, (cell, corner), in VTK's order.
    node_types : ndarray, optional
        int64, (node,): which of ``type_names`` each is. Default: 1 at the boundary, that is at faces which only one cell has, else 0.
    type_names : tuple of str
        What the types mean.
    links : ndarray
        int64, (2, link): pairs of nodes that are joined by an edge though no cell has it; each pair once is enough.

    Raises
    ------
    ShapeError
        For another shape, points that are not finite, an unknown kind, a corner that does not exist, a cell with the same corner twice, or
        the same cell twice.

    Notes
    -----
    Any number of pieces, faces with more than two cells and nodes without a cell are allowed; the latter become nodes without edges.

    Examples
    --------
    >>> mesh = Mesh([[0, 0], [1, 0], [1, 1], [0, 1]], {"triangle": [[0, 1, 2], [0, 2, 3]]})
    >>> mesh.node_types.tolist(), mesh.edges()[:, :4].tolist()
    ([1, 1, 1, 1], [[0, 1, 0, 2], [1, 0, 2, 0]])
    """

    points: np.ndarray
    cells: Mapping[str, np.ndarray]
    node_types: np.ndarray = None  # type: ignore[assignment]  # __post_init__ fills it in
    type_names: tuple[str, ...] = BOUNDARY
    links: np.ndarray = field(default_factory=lambda: NO_LINKS)

    def __post_init__(self) -> None:
        points, cells = checked_points(self.points), checked_cells(self.cells)
        for kind, corners in cells.items():
            check_corners(kind, corners, len(points))
        links = checked_links(self.links, len(points))
        types = boundary_nodes(cells, len(points)).astype(np.int64) if self.node_types is None else self.node_types
        checked = {"points": points, "cells": MappingProxyType(cells), "links": links, "node_types": np.asarray(types)}
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        checked_types(self.node_types, len(points), self.type_names)

    @property
    def num_cells(self) -> int:
        """Of all kinds."""
        return sum(map(len, self.cells.values()))

    @property
    def dim(self) -> int:
        """Of the cells: 3 where there are volumes, 2 where there are faces only, 1 for lines."""
        return max((CELL_KINDS[kind].dim for kind, corners in self.cells.items() if len(corners)), default=0)

    def edges(self) -> np.ndarray:
        """Edges of all cells, and links, each in both directions, one after the other; by their lower and then by their higher node.

        Returns
        -------
        ndarray
            int64, (2, edge).

        Communication
        -------------
        Local.
        """
        return both_ways(distinct_pairs(pairs_of(self.cells), self.links.T))

    @classmethod
    def cleaned(cls, points: np.ndarray, cells: Mapping[str, np.ndarray]) -> "Mesh":
        """Mesh without what `Mesh` refuses: repeated cells, cells with the same corner twice; and without the nodes that no cell has left.

        Communication
        -------------
        Local.
        """
        return cls(*without_unused(np.asarray(points), distinct_cells(cells))[:2])


def checked_points(points: np.ndarray) -> np.ndarray:
    """Points as float64, (node, 2 or 3); `ShapeError` where that is not so, or one is not finite."""
    positions = np.asarray(points, np.float64)
    if positions.ndim != 2 or positions.shape[1] not in (2, 3):
        raise ShapeError(f"the points of a mesh are (node, 2 or 3), got an array of shape {positions.shape}")
    lost = np.flatnonzero(~np.isfinite(positions).all(1))
    if len(lost):
        raise ShapeError(
            f"{len(lost)} points of a mesh are not finite, first of them node {lost[0]} at {positions[lost[0]]}: mend the file"
        )
    return positions


def checked_cells(cells: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Cells as int64, (cell, corner), kinds in one order; `ShapeError` for an unknown kind or another shape."""
    if unknown := [kind for kind in cells if kind not in CELL_KINDS]:
        raise ShapeError(f"cells of a mesh are {', '.join(CELL_KINDS)}, got {unknown[0]!r}")
    checked = {}
    for kind in (kind for kind in CELL_KINDS if kind in cells):
        corners, expected = np.asarray(cells[kind]), CELL_KINDS[kind].corners
        if not corners.size:
            corners = np.zeros((0, expected), np.int64)
        if corners.ndim != 2 or corners.shape[1] != expected or corners.dtype.kind not in "iu":
            raise ShapeError(f"cells of kind {kind} are integers, (cell, {expected}), got {corners.dtype} of shape {corners.shape}")
        checked[kind] = corners.astype(np.int64)
    return checked


def distinct_cells(cells: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Cells without those that were there before, and without those that have a corner twice."""
    kept = {}
    for kind, corners in checked_cells(cells).items():
        ordered = np.sort(corners, 1)
        first = np.unique(ordered, axis=0, return_index=True)[1]
        kept[kind] = corners[np.setdiff1d(first, np.flatnonzero((np.diff(ordered, axis=1) == 0).any(1)))]
    return kept


def checked_types(types: np.ndarray, nodes: int, names: tuple[str, ...]) -> None:
    """Raise `ShapeError` unless there is one of the types for each node."""
    good = types.shape == (nodes,) and (not nodes or (types.dtype.kind in "iu" and 0 <= types.min() <= types.max() < len(names)))
    if not good:
        raise ShapeError(
            f"node_types are integers, ({nodes},), below {len(names)}, the number of type_names; got {types.dtype} {types.shape}"
        )


def pairs_of(cells: Mapping[str, np.ndarray]) -> np.ndarray:
    """The edges of cells as they come, int64, (edge, 2)."""
    parts = [corners[:, edge] for kind, corners in cells.items() for edge in CELL_KINDS[kind].edges]
    return np.concatenate([NO_LINKS.T, *parts])


def boundary_nodes(cells: Mapping[str, np.ndarray], nodes: int) -> np.ndarray:
    """Whether each node lies on a face that only one of the cells of the highest dim has, bool, (node,)."""
    dim = max((CELL_KINDS[kind].dim for kind, corners in cells.items() if len(corners)), default=0)
    at_boundary = np.zeros(nodes, bool)
    by_size: dict[int, list[np.ndarray]] = {}
    for kind, corners in cells.items():
        for face in CELL_KINDS[kind].faces if CELL_KINDS[kind].dim == dim else ():
            by_size.setdefault(len(face), []).append(corners[:, face])
    for parts in by_size.values():
        faces, counts = np.unique(np.sort(np.concatenate(parts), 1), axis=0, return_counts=True)
        at_boundary[faces[counts == 1]] = True
    return at_boundary


def without_unused(points: np.ndarray, cells: Mapping[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Points and cells without the nodes that no cell has, and the former numbers of those that are left."""
    used = np.unique(np.concatenate([np.zeros(0, np.int64), *(corners.ravel() for corners in cells.values())]))
    if len(used) and not 0 <= used[0] <= used[-1] < len(points):
        raise ShapeError(f"cells of a mesh have nodes {used[0]} to {used[-1]}: expected numbers below {len(points)}")
    return points[used], {kind: np.searchsorted(used, corners) for kind, corners in cells.items()}, used


def checked_links(links: np.ndarray, nodes: int) -> np.ndarray:
    """Links as int64, (2, link); `ShapeError` where that is not so, or a node does not exist."""
    pairs = np.asarray(links)
    if pairs.ndim != 2 or len(pairs) != 2 or (pairs.size and (pairs.dtype.kind not in "iu" or not 0 <= pairs.min() <= pairs.max() < nodes)):
        raise ShapeError(f"links of a mesh are (2, link), integers, numbers below {nodes}, got {pairs.dtype} of shape {pairs.shape}")
    return pairs.astype(np.int64)


def check_corners(kind: str, corners: np.ndarray, nodes: int) -> None:
    """Raise `ShapeError` for corners that do not exist, a cell that has one twice, or that is there twice."""
    outside = np.flatnonzero(((corners < 0) | (corners >= nodes)).any(1))
    if len(outside):
        raise ShapeError(f"cell {outside[0]} of kind {kind} has nodes {corners[outside[0]].tolist()}: expected numbers below {nodes}")
    ordered, remedy = np.sort(corners, 1), "mend the file, or drop such cells by Mesh.cleaned, or read_mesh(path, clean=True)"
    collapsed = np.flatnonzero((np.diff(ordered, axis=1) == 0).any(1))
    if len(collapsed):
        cell = corners[collapsed[0]].tolist()
        raise ShapeError(f"{len(collapsed)} cells of kind {kind} have a node twice, first of them cell {collapsed[0]}, {cell}: {remedy}")
    order = np.lexsort(ordered.T)
    again = order[1:][(np.diff(ordered[order], axis=0) == 0).all(1)]
    if len(again):
        raise ShapeError(
            f"{len(again)} cells of kind {kind} are there before, such as cell {again.min()}, {corners[again.min()].tolist()}: {remedy}"
        )
