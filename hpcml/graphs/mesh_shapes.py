"""Meshes that need no file: triangulated points, boxes, the sphere."""

from collections.abc import Sequence

import numpy as np

from hpcml.core.errors import ConfigError, ShapeError
from hpcml.core.optional_module import optional_module
from hpcml.graphs.mesh import NO_LINKS, Mesh, checked_points, pairs_of
from hpcml.topology.pairs import both_ways, distinct_pairs


def triangulated(points: np.ndarray) -> Mesh:
    """Delaunay's triangulation of points: triangles in the plane, tetrahedra in space.

    Parameters
    ----------
    points : ndarray
        (node, 2 or 3): at least one more than coordinates, no two alike, not all on one line or plane.

    Raises
    ------
    ShapeError
        If it is not so.

    Communication
    -------------
    Local.

    References
    ----------
    Barber, Dobkin and Huhdanpaa, ACM Transactions on Mathematical Software 22, 469 (1996).

    Examples
    --------
    >>> triangulated([[0, 0], [1, 0], [0, 1]]).cells["triangle"].shape
    (1, 3)
    """
    spatial = optional_module("scipy.spatial", "triangulations need the package scipy", "'hpcml[graphs]'")
    positions = checked_points(points)
    try:
        simplices = spatial.Delaunay(positions)
    except (spatial.QhullError, ValueError) as error:
        raise ShapeError(f"{len(positions)} points cannot be triangulated: {str(error).strip().splitlines()[0]}") from error
    if len(simplices.coplanar):
        point, _, other = simplices.coplanar[0]
        raise ShapeError(f"{len(simplices.coplanar)} points lie where others are, first of them {point}, at {other}: leave them out")
    kind = "triangle" if positions.shape[1] == 2 else "tetrahedron"
    return Mesh(positions, {kind: simplices.simplices.astype(np.int64)})


def structured(shape: Sequence[int], extent: Sequence[float]) -> Mesh:
    """A box of quadrilaterals or hexahedra with one corner at the origin.

    Parameters
    ----------
    shape : sequence of int
        Nodes along each of 2 or 3 dims, at least 2; they are numbered in C order.
    extent : sequence of float
        Lengths of the sides.

    Raises
    ------
    ConfigError
        For other numbers.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> structured((3, 2), (1.0, 1.0)).cells["quadrilateral"].tolist()
    [[0, 2, 3, 1], [2, 4, 5, 3]]
    """
    if len(shape) not in (2, 3) or len(shape) != len(extent) or min(shape) < 2 or min(extent) <= 0:
        raise ConfigError(f"a box has 2 or 3 dims, at least 2 nodes along each, and positive lengths: got {shape} and {extent}")
    axes = [np.linspace(0.0, length, nodes) for nodes, length in zip(shape, extent, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(shape))
    numbers = np.arange(len(points)).reshape(shape)
    low, high = slice(None, -1), slice(1, None)
    square = [(low, low), (high, low), (high, high), (low, high)]
    corners = square if len(shape) == 2 else [(*of, side) for side in (low, high) for of in square]
    kind = "quadrilateral" if len(shape) == 2 else "hexahedron"
    return Mesh(points, {kind: np.stack([numbers[of].ravel() for of in corners], 1)})


def halved(points: np.ndarray, quadrilaterals: np.ndarray) -> np.ndarray:
    """Two triangles of each quadrilateral in the plane, counter-clockwise, cut along the shorter diagonal: int64, (triangle, 3).

    Communication
    -------------
    Local.
    """
    a, b, c, d = quadrilaterals.T
    across = np.linalg.norm(points[a] - points[c], axis=1) <= np.linalg.norm(points[b] - points[d], axis=1) * (1 + 1e-9)
    halves = np.where(
        across[:, None, None], np.stack([a, b, c, a, c, d], 1).reshape(-1, 2, 3), np.stack([a, b, d, b, c, d], 1).reshape(-1, 2, 3)
    )
    triangles = halves.reshape(-1, 3)
    p, q, r = (points[triangles[:, corner]] for corner in range(3))
    area = (q - p)[:, 0] * (r - p)[:, 1] - (q - p)[:, 1] * (r - p)[:, 0]
    return np.where(area[:, None] > 0, triangles, triangles[:, ::-1])


def icosphere(levels: int, multi_mesh: bool = False) -> Mesh:
    """Triangles on the unit sphere: an icosahedron whose triangles are cut into four as often as there are levels.

    Parameters
    ----------
    levels : int
        From 0, which has 12 nodes; level k has 10 4^k + 2. The nodes of a level are the first of the next.
    multi_mesh : bool
        Have the edges of all lower levels as links, so that messages go far in one step.

    Raises
    ------
    ConfigError
        For a negative number.

    Communication
    -------------
    Local.

    References
    ----------
    Lam et al., Science 382, 1416 (2023), arXiv 2212.12794, for the multi-mesh.

    Examples
    --------
    >>> [len(icosphere(levels).points) for levels in range(3)], icosphere(1, multi_mesh=True).edges().shape
    ([12, 42, 162], (2, 300))
    """
    if levels < 0:
        raise ConfigError(f"the icosphere has 0 levels or more, got {levels}")
    points, cells = _icosahedron()
    coarser = [NO_LINKS.T]
    for _ in range(levels):
        pairs = distinct_pairs(pairs_of({"triangle": cells}))
        coarser.append(pairs)
        middles = points[pairs].sum(1)
        first, number = len(points), pairs[:, 0] * len(points) + pairs[:, 1]
        points = np.concatenate([points, middles / np.linalg.norm(middles, axis=1, keepdims=True)])
        ends = np.sort(np.stack([cells, np.roll(cells, -1, 1)], -1), -1)
        ab, bc, ca = (first + np.searchsorted(number, ends[..., 0] * first + ends[..., 1])).T
        a, b, c = cells.T
        cells = np.stack([[a, ab, ca], [b, bc, ab], [c, ca, bc], [ab, bc, ca]], 1).transpose(2, 1, 0).reshape(-1, 3)
    return Mesh(points, {"triangle": cells}, links=both_ways(np.concatenate(coarser)) if multi_mesh else NO_LINKS)


def _icosahedron() -> tuple[np.ndarray, np.ndarray]:
    """The twelve corners of three golden rectangles, and the triangles, which are the triples of nearest neighbors, turned outwards."""
    golden = (1 + 5**0.5) / 2
    corners = [(0.0, s, t * golden) for s in (-1, 1) for t in (-1, 1)]
    points = np.array([np.roll(corner, turn) for turn in range(3) for corner in corners])
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    near = np.isclose(points @ points.T, 5**-0.5)
    triples = np.array(
        [(i, j, k) for i in range(12) for j in range(i, 12) for k in range(j, 12) if near[i, j] and near[j, k] and near[i, k]]
    )
    inward = np.linalg.det(points[triples]) < 0
    triples[inward] = triples[inward][:, ::-1]
    return points, triples.astype(np.int64)
