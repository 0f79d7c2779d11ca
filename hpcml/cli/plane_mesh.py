"""A mesh in the plane, or the map of one on a sphere, as pictures show it."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from hpcml.core.errors import CheckpointError

if TYPE_CHECKING:
    from hpcml.io import SnapshotFile

_TRIANGLE, _QUADRILATERAL = 4, 5
_SIZES = {1: 2, 2: 3, _TRIANGLE: 3, _QUADRILATERAL: 4}
"""Numbers that follow that of a kind in an XDMF topology."""


@dataclass(frozen=True, slots=True)
class PlaneMesh:
    """Points and triangles; quadrilaterals are two triangles each.

    Attributes
    ----------
    points : ndarray
        (node, 2).
    triangles : ndarray
        (triangle, 3); none where nodes are all there is.
    cells : ndarray
        (triangle,): number of the cell that each is of.
    labels : (str, str)
        Of the coordinates.
    """

    points: np.ndarray
    triangles: np.ndarray
    cells: np.ndarray
    labels: tuple[str, str] = ("x", "y")

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray, topology: np.ndarray) -> Self:
        """Read the stream of cells of a snapshot, kind after kind within each rank."""
        triangles, cells, place, first = [np.zeros((0, 3), np.int64)], [np.zeros(0, np.int64)], 0, 0
        while place < len(topology):
            kind = int(topology[place])
            row = 1 + _SIZES.get(kind, len(topology))
            if place + row > len(topology):
                raise CheckpointError(f"cells of kind {kind} cannot be drawn, or are cut short: open the .xdmf in ParaView")
            same = topology[place : place + (len(topology) - place) // row * row].reshape(-1, row)
            count = int(np.argmin(np.append(same[:, 0] == kind, False)))
            corners = same[:count, 1:]
            if kind in (_TRIANGLE, _QUADRILATERAL):
                halves = [corners[:, :3]] if kind == _TRIANGLE else [corners[:, :3], corners[:, [0, 2, 3]]]
                triangles += halves
                cells += [np.arange(first, first + count)] * len(halves)
            place, first = place + count * row, first + count
        corners = np.concatenate(triangles)
        if corners.size and not 0 <= corners.min() <= corners.max() < len(x):
            raise CheckpointError(f"cells refer to points {corners.min()} to {corners.max()} of {len(x)}: write the snapshots anew")
        return cls(np.stack([x, y], 1), corners, np.concatenate(cells))

    @classmethod
    def map_of(cls, points: np.ndarray, topology: np.ndarray) -> Self:
        """Longitudes and latitudes of points on a sphere around the origin, (node, 3), without the triangles that the map's edge cuts."""
        x, y, z = points.T / np.linalg.norm(points, axis=1)
        longitude, latitude = np.degrees(np.arctan2(y, x)), np.degrees(np.arcsin(z.clip(-1, 1)))
        whole = cls.of(longitude, latitude, topology)
        kept = np.flatnonzero(np.abs(longitude[whole.triangles] - longitude[np.roll(whole.triangles, 1, 1)]).max(1, initial=0) < 180)
        return cls(whole.points, whole.triangles[kept], whole.cells[kept], ("longitude", "latitude"))

    @classmethod
    def read(cls, file: "SnapshotFile") -> Self | None:
        """Mesh of snapshots: as it is in the plane, the map of one on a sphere; None where a picture can show none."""
        if not {"x", "y", "topology"} <= set(file.view.mesh):
            return None
        points = np.stack([file.read(key) for key in ("x", "y", "z") if key in file.view.mesh], 1)
        if points.shape[1] == 2:
            return cls.of(points[:, 0], points[:, 1], file.read("topology"))
        if any(variable.coordinates for variable in file.view.variables.values()):
            return None
        away = np.linalg.norm(points, axis=1)
        around = away.min() > 0.999 * away.max() and np.ptp(points, 0).min() > 1.5 * away.max()
        return cls.map_of(points, file.read("topology")) if around else None

    def places(self, file: "SnapshotFile", name: str, index: tuple[int | slice, ...]) -> np.ndarray | None:
        """Where the points of a field are, (*dims of the index, node, 2); None where they do not move."""
        moved = [file.read(of, index).astype(float) for of in file.view.variables[name].coordinates]
        fixed = [np.broadcast_to(self.points[:, d], moved[0].shape) for d in range(len(moved), 2) if moved]
        return np.stack([*moved, *fixed], -1) if moved else None

    def at(self, places: np.ndarray | None) -> Self:
        """The mesh with its points, where they move, at these places, (node, 2)."""
        return self if places is None else replace(self, points=places)

    def draw(self, axis: Any, values: np.ndarray, limit: float, in_cells: bool = False) -> Any:
        """Draw values at the nodes or in the cells, in colours from -limit to limit."""
        axis.set_aspect("equal")
        colours = {"vmin": -limit, "vmax": limit, "cmap": "RdBu_r"}
        if not len(self.triangles):
            size = float(np.clip(2000 / len(values), 4, 40))  # an edge, or those with values around 0 would be white on white
            return axis.scatter(*self.points.T, c=values, s=size, edgecolors="0.6", linewidths=0.3, **colours)
        if in_cells:
            return axis.tripcolor(*self.points.T, self.triangles, facecolors=values[self.cells], **colours)
        return axis.tripcolor(*self.points.T, self.triangles, values, shading="gouraud", **colours)
