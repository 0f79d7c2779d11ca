"""A channel with a cylinder across it, as triangles that follow the wall of the cylinder."""

import math

import numpy as np

from hpcml.core.errors import ConfigError
from hpcml.graphs.mesh import Mesh
from hpcml.graphs.mesh_shapes import halved

CHANNEL = ("interior", "inflow", "outflow", "wall")
"""Types of the nodes of a channel."""
MOST_NODES = 2e7
"""One rank makes the mesh."""


def channel_with_cylinder(length: float, height: float, center: tuple[float, float], radius: float, cells: int) -> Mesh:
    """Rings around the cylinder that become a rectangle, and columns from there to the outflow.

    Parameters
    ----------
    length, height : float
        Of the channel, from (0, 0); flow comes in at x = 0.
    center : (float, float)
        Of the cylinder; the rings reach from the inflow to as far downstream.
    radius : float
        Of the cylinder.
    cells : int
        Across the channel; as many for each side of the rectangle lie around the cylinder.

    Returns
    -------
    Mesh
        With the types of nodes `CHANNEL`.

    Raises
    ------
    ConfigError
        If the cylinder leaves less than half its radius to a wall, or the channel ends before the rings.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> mesh = channel_with_cylinder(2.2, 0.41, (0.2, 0.2), 0.05, 8)
    >>> len(mesh.points), mesh.num_cells
    (472, 832)
    """
    x, y = center
    width, room = 2 * x, min(x, y, height - y) - radius
    if cells < 4 or room < radius / 2 or length < 1.5 * width:
        raise ConfigError(
            f"a cylinder of radius {radius} at {center} needs a channel with half a radius of room around it, half as long again as twice "
            f"the way to the inflow, and 4 cells across: got {length} x {height} with {cells} cells"
        )
    if (nodes := cells**2 * max(1.0, length / height)) > MOST_NODES:
        raise ConfigError(f"equation.cells = {cells} across {length} x {height} make {nodes:.1e} nodes, over {MOST_NODES:.0e}: use fewer")
    along = max(4, round(cells * width / height))
    rim = _rectangle(along, cells) * (width, height)
    outwards = rim - center
    away = np.linalg.norm(outwards, axis=1, keepdims=True)
    circle = center + radius * outwards / away
    layers = _graded(float((away - radius).mean()), 2 * math.pi * radius / len(rim), height / cells)
    rings = circle[None] + layers[:, None, None] * (rim - circle)[None]
    ring = np.arange(rings.shape[0] * len(rim)).reshape(-1, len(rim))
    side = ring[-1, along : along + cells + 1]  # upwards at the downstream end of the rectangle
    columns = width + (length - width) * _graded(length - width, height / cells, 2 * height / cells)[1:]
    rest = np.stack([np.repeat(columns, cells + 1), np.tile(rim[along : along + cells + 1, 1], len(columns))], 1)
    column = np.concatenate([side[None], ring.size + np.arange(len(rest)).reshape(-1, cells + 1)])
    points = np.concatenate([rings.reshape(-1, 2), rest])
    squares = [_squares(np.concatenate([ring, ring[:, :1]], 1)), _squares(column.T)]
    triangles = halved(points, np.concatenate(squares))
    return Mesh(points, {"triangle": triangles}, _types(points, length, height, ring[0]), CHANNEL)


def _rectangle(along: int, up: int) -> np.ndarray:
    """Points around the unit square, counter-clockwise from (0, 0)."""
    x, y = np.linspace(0, 1, along + 1), np.linspace(0, 1, up + 1)
    sides = [(x[:-1], 0 * x[:-1]), (0 * y[:-1] + 1, y[:-1]), (x[:0:-1], 0 * x[1:] + 1), (0 * y[1:], y[:0:-1])]
    return np.concatenate([np.stack(side, 1) for side in sides])


def _graded(length: float, first: float, last: float) -> np.ndarray:
    """Places from 0 to 1 whose distances grow evenly, from about ``first`` to about ``last`` of a length."""
    growth = math.log(last / first)
    count = max(2, round(length * (growth / (last - first) if abs(growth) > 1e-6 else 1 / first)))
    steps = np.exp(np.linspace(0, growth, count))
    return np.concatenate([[0.0], np.cumsum(steps) / steps.sum()])


def _squares(numbers: np.ndarray) -> np.ndarray:
    return np.stack([numbers[:-1, :-1], numbers[1:, :-1], numbers[1:, 1:], numbers[:-1, 1:]], -1).reshape(-1, 4)


def _types(points: np.ndarray, length: float, height: float, circle: np.ndarray) -> np.ndarray:
    types, (x, y) = np.zeros(len(points), np.int64), points.T
    types[np.isclose(x, 0)], types[np.isclose(x, length)] = CHANNEL.index("inflow"), CHANNEL.index("outflow")
    types[np.isclose(y, 0) | np.isclose(y, height)] = CHANNEL.index("wall")
    types[circle] = CHANNEL.index("wall")
    return types
