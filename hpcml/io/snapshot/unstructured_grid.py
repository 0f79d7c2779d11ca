"""Cells between points, in parts that ranks hold, for the files that show them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from hpcml.core.errors import ShapeError
from hpcml.io.snapshot.location import Location
from hpcml.mpi.agreement import raise_together
from hpcml.mpi.call import named_call
from hpcml.mpi.patient_comm import patient

_KINDS = {
    "vertex": ((1, 1), 1),
    "line": ((2, 2), 2),
    "triangle": ((4,), 3),
    "quadrilateral": ((5,), 4),
    "tetrahedron": ((6,), 4),
    "pyramid": ((7,), 5),
    "wedge": ((8,), 6),
    "hexahedron": ((9,), 8),
}
"""How XDMF begins each kind of cell, a vertex or line with the number of its points, and how many points follow."""
CORNERS = {kind: size for kind, (_, size) in _KINDS.items()}
"""Points of each kind of cell."""


@dataclass(frozen=True, slots=True)
class UnstructuredGrid:
    """One rank's part of a mesh of cells of the kinds in `CORNERS`, in any mixture. A `Geometry`; made by `joined`.

    Values sit at ``points``, where a `Field` says nothing else, or in ``cells``. Points and cells are numbered through the ranks: those of
    rank 0 come first, then those of rank 1. A point that several ranks know is written by one of them, the others refer to its number. The
    mesh is written once, and stays as it is; where points move, fields say where they are, see `Field.coordinates`.

    Attributes
    ----------
    points, cells, entries : Location
        This rank's share of points, cells, and numbers in ``topology``.
    positions : ndarray
        float64, (point, 2 or 3).
    topology : ndarray
        int64, for each cell its kind in XDMF's numbers and then its points.

    Examples
    --------
    Two triangles and a quadrilateral over them; on several ranks each gives its own.

    >>> points = np.array([[0, 0], [1, 0], [0, 1], [1, 1], [0, 2], [1, 2.0]])
    >>> mesh = UnstructuredGrid.joined(points, {"triangle": [[0, 1, 2], [1, 3, 2]], "quadrilateral": [[2, 3, 5, 4]]}, MPI.COMM_SELF)
    >>> mesh.cells.shape, mesh.topology.tolist()
    ((3,), [4, 0, 1, 2, 4, 1, 3, 2, 5, 2, 3, 5, 4])
    """

    points: Location
    cells: Location
    entries: Location
    positions: np.ndarray
    topology: np.ndarray

    @classmethod
    @named_call
    def joined(cls, points: np.ndarray, cells: Mapping[str, np.ndarray], comm: MPI.Intracomm) -> "UnstructuredGrid":
        """Join the parts of all ranks.

        Parameters
        ----------
        points : ndarray
            (point, 2 or 3): the positions of the points that this rank writes; there may be none.
        cells : mapping of str to ndarray
            For each kind, one of `CORNERS`, the global numbers of the points, in VTK's order, of the cells that this rank writes,
            (cell, corner); there may be none. Values in cells come in this order, kind after kind.
        comm : mpi4py.MPI.Intracomm
            The ranks.

        Raises
        ------
        ShapeError
            On every rank: an array of another shape, an unknown kind, a point that does not exist, or a mesh without points or cells.

        Communication
        -------------
        Collective: four integers of each rank to all, and an agreement.
        """
        with raise_together(comm):
            positions = _positions(points)
            streams = [_stream(kind, numbers) for kind, numbers in cells.items()]
            topology = np.concatenate([np.zeros(0, np.int64), *(stream.ravel() for stream in streams)])
        own = (len(positions), sum(map(len, streams)), len(topology))
        parts = np.array(patient(comm).allgather((*own, positions.shape[1])))
        before, totals = parts[: comm.rank, :3].sum(0).tolist(), parts[:, :3].sum(0).tolist()
        with raise_together(comm):
            if len(set(parts[:, 3].tolist())) > 1 or not all(totals):
                raise ShapeError(f"a mesh has points of 2 or of 3 coordinates on all ranks, and cells; got (points, cells, ...) {parts}")
            _check_numbers(cells, totals[0], comm.rank)
        shares = [((total,), (start,), (size,)) for total, start, size in zip(totals, before, own, strict=True)]
        at_points, in_cells = Location(("point",), *shares[0]), Location(("cell",), *shares[1], center="Cell")
        return cls(at_points, in_cells, Location(("entry",), *shares[2]), positions, topology)

    @property
    def locations(self) -> dict[str, Location]:
        return {"points": self.points, "cells": self.cells}

    def coordinates(self) -> dict[str, np.ndarray]:
        return {}

    def arrays(self) -> dict[str, tuple[Location, np.ndarray]]:
        axes = {name: (self.points, axis) for name, axis in zip("xyz", self.positions.T, strict=False)}
        return axes | {"topology": (self.entries, self.topology)}

    def stored(self, block: np.ndarray) -> np.ndarray:
        return block

    def xdmf(self, view: str, moved: Sequence[str] = ()) -> str:
        axes = "xyz"[: self.positions.shape[1]]
        topology = _item(view, "topology", self.entries, "Int")
        if moved:  # a slab of all, as VTK, where a plain path lets it keep meshes, looks for one of the points too and logs an error
            size = self.entries.shape[0]
            slab = f'<DataItem Dimensions="3 1" Format="XML">0 1 {size}</DataItem>'
            topology = f'<DataItem ItemType="HyperSlab" Dimensions="{size}">{slab}{topology}</DataItem>'
        points = [*moved, *(_item(view, name, self.points, "Float") for name in axes[len(moved) :])]
        return (
            f'<Topology TopologyType="Mixed" NumberOfElements="{self.cells.shape[0]}">{topology}</Topology>'
            f'<Geometry GeometryType="{"_".join(axes.upper())}">{"".join(points)}</Geometry>'
        )


def _positions(points: np.ndarray) -> np.ndarray:
    positions = np.array(points, np.float64)
    if positions.ndim != 2 or positions.shape[1] not in (2, 3):
        raise ShapeError(f"the points of a mesh are (point, 2 or 3), got an array of shape {positions.shape}")
    return positions


def _stream(kind: str, cells: np.ndarray) -> np.ndarray:
    """Kind and points of each cell, (cell, 1 or 2 + points)."""
    if kind not in _KINDS:
        raise ShapeError(f"cells of a mesh are {', '.join(_KINDS)}, got {kind!r}")
    begin, size = _KINDS[kind]
    numbers = np.array(cells, np.int64).reshape(-1, size) if len(cells) == 0 else np.array(cells, np.int64)
    if numbers.ndim != 2 or numbers.shape[1] != size:
        raise ShapeError(f"cells of kind {kind} are (cell, {size}), got an array of shape {numbers.shape}")
    return np.concatenate([np.broadcast_to(np.array(begin), (len(numbers), len(begin))), numbers], 1)


def _check_numbers(cells: Mapping[str, np.ndarray], num_points: int, rank: int) -> None:
    for kind, numbers in cells.items():
        if len(numbers) and not 0 <= np.min(numbers) <= np.max(numbers) < num_points:
            raise ShapeError(
                f"cells of kind {kind} on rank {rank} refer to points {np.min(numbers)} to {np.max(numbers)}: expected global numbers "
                f"below {num_points}, the points of all ranks"
            )


def _item(view: str, name: str, location: Location, kind: str) -> str:
    return f'<DataItem Format="HDF" NumberType="{kind}" Precision="8" Dimensions="{location.shape[0]}">{view}:/{name}</DataItem>'
