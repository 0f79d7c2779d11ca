"""A mesh in the plane, as pictures show it."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from hpcml.core.errors import CheckpointError

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
    """

    points: np.ndarray
    triangles: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray, topology: np.ndarray) -> Self:
        """Read the stream of cells of a snapshot, kind after kind within each rank."""
        triangles, place = [np.zeros((0, 3), np.int64)], 0
        while place < len(topology):
            kind = int(topology[place])
            row = 1 + _SIZES.get(kind, len(topology))
            if place + row > len(topology):
                raise CheckpointError(f"cells of kind {kind} cannot be drawn, or are cut short: open the .xdmf in ParaView")
            same = topology[place : place + (len(topology) - place) // row * row].reshape(-1, row)
            count = int(np.argmin(np.append(same[:, 0] == kind, False)))
            corners = same[:count, 1:]
            if kind in (_TRIANGLE, _QUADRILATERAL):
                triangles += [corners[:, :3]] if kind == _TRIANGLE else [corners[:, :3], corners[:, [0, 2, 3]]]
            place += count * row
        corners = np.concatenate(triangles)
        if corners.size and not 0 <= corners.min() <= corners.max() < len(x):
            raise CheckpointError(f"cells refer to points {corners.min()} to {corners.max()} of {len(x)}: write the snapshots anew")
        return cls(np.stack([x, y], 1), corners)

    def draw(self, axis: Any, values: np.ndarray, limit: float) -> Any:
        """Draw values at the nodes in colours from -limit to limit."""
        axis.set_aspect("equal")
        colours = {"vmin": -limit, "vmax": limit, "cmap": "RdBu_r"}
        if not len(self.triangles):
            return axis.scatter(*self.points.T, c=values, s=4, **colours)
        return axis.tripcolor(*self.points.T, self.triangles, values, shading="gouraud", **colours)
