"""Kinds of cells: how many corners each has, which edges and faces lie between them, in VTK's order of corners."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CellKind:
    """What is alike in all cells of a kind.

    Attributes
    ----------
    dim : int
        1 for a line, 2 for a face, 3 for a volume.
    corners : int
        How many.
    edges : tuple of tuple of int
        Pairs of corners.
    faces : tuple of tuple of int
        Corners of what bounds a cell: the ends of a line, the sides of a face, the faces of a volume.
    vtk : tuple of int
        VTK's numbers of cells whose first corners are these, those of higher order too.
    """

    dim: int
    corners: int
    edges: tuple[tuple[int, ...], ...]
    faces: tuple[tuple[int, ...], ...]
    vtk: tuple[int, ...]


def _cells(words: str) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(map(int, word)) for word in words.split())


def _kind(dim: int, corners: int, edges: str, faces: str, *vtk: int) -> CellKind:
    return CellKind(dim, corners, _cells(edges), _cells(faces or edges), vtk)


CELL_KINDS = {
    "line": _kind(1, 2, "01", "0 1", 3, 21, 68),
    "triangle": _kind(2, 3, "01 12 20", "", 5, 22, 34, 69),
    "quadrilateral": _kind(2, 4, "01 12 23 30", "", 9, 23, 28, 30, 70),
    "tetrahedron": _kind(3, 4, "01 02 03 12 13 23", "012 013 023 123", 10, 24, 71),
    "pyramid": _kind(3, 5, "01 12 23 30 04 14 24 34", "0123 014 124 234 304", 14, 27, 37),
    "wedge": _kind(3, 6, "01 12 20 34 45 53 03 14 25", "012 345 0143 1254 2035", 13, 26, 31, 32, 73),
    "hexahedron": _kind(3, 8, "01 12 23 30 45 56 67 74 04 15 26 37", "0123 4567 0154 1265 2376 3047", 12, 25, 29, 33, 72),
}
"""By name, as in `hpcml.io.UnstructuredGrid`."""
