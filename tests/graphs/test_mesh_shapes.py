"""Meshes that need no file are what geometry says of them."""

import numpy as np
import pytest

from hpcml.core.errors import ConfigError, ShapeError
from hpcml.graphs import icosphere, structured, triangulated


@pytest.mark.parametrize("dims", [2, 3])
def test_a_triangulation_fills_the_hull(dims):
    points = np.concatenate([np.random.default_rng(0).random((50, dims)), np.indices((2,) * dims).reshape(dims, -1).T])
    mesh = triangulated(points)
    (corners,) = mesh.cells.values()
    sides = points[corners[:, 1:]] - points[corners[:, :1]]
    np.testing.assert_allclose(np.abs(np.linalg.det(sides)).sum() / (1, 1, 2, 6)[dims], 1.0, rtol=1e-12)  # of rounded products
    assert np.array_equal(mesh.node_types == 1, ((points == 0) | (points == 1)).any(1))


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([[0, 0], [1, 1], [2, 2]], "3 points cannot be triangulated"),
        ([[0, 0], [1, 0]], "2 points cannot be triangulated"),
        ([[0, 0], [1, 0], [0, 1], [0, 0]], "lie where others are"),
        ([[0, 0], [1, 0], [0, np.inf]], "not finite"),
    ],
)
def test_points_that_make_no_triangulation_are_refused(points, words):
    with pytest.raises(ShapeError, match=words):
        triangulated(points)


@pytest.mark.parametrize(("shape", "extent"), [((4, 3), (3.0, 1.0)), ((3, 4, 2), (1.0, 3.0, 2.0))])
def test_a_box_is_filled_with_cells_of_one_size(shape, extent):
    mesh = structured(shape, extent)
    (corners,) = mesh.cells.values()
    spacing = np.array(extent) / (np.array(shape) - 1)
    assert len(corners) == np.prod(np.array(shape) - 1)
    begin, end = mesh.points[corners[:, 0]], mesh.points[corners[:, 2 if len(shape) == 2 else 6]]
    np.testing.assert_allclose(end - begin, np.broadcast_to(spacing, begin.shape), rtol=1e-14)  # differences of rounded places
    lengths = np.abs(np.subtract(*mesh.points[mesh.edges()]))
    assert (np.count_nonzero(lengths > 1e-12, 1) == 1).all()  # edges are parallel to axes: no diagonal


@pytest.mark.parametrize(("shape", "extent"), [((4,), (1.0,)), ((1, 4), (1.0, 1.0)), ((4, 4), (1.0,)), ((4, 4), (1.0, 0.0))])
def test_no_box_is_made_of_other_numbers(shape, extent):
    with pytest.raises(ConfigError, match="2 or 3 dims"):
        structured(shape, extent)


@pytest.mark.parametrize("levels", range(4))
def test_the_icosphere_is_a_closed_surface_of_nearly_equal_triangles(levels):
    mesh = icosphere(levels)
    triangles = mesh.cells["triangle"]
    assert (len(mesh.points), mesh.edges().shape[1] // 2, len(triangles)) == (10 * 4**levels + 2, 30 * 4**levels, 20 * 4**levels)
    assert not mesh.node_types.any()
    np.testing.assert_allclose(np.linalg.norm(mesh.points, axis=1), 1.0, rtol=1e-15 * 4)
    volumes = np.linalg.det(mesh.points[triangles])
    assert (volumes > 0).all() and volumes.max() / volumes.min() < 2  # all are turned outwards
    if levels:
        assert np.array_equal(mesh.points[: 10 * 4 ** (levels - 1) + 2], icosphere(levels - 1).points)


def test_the_multi_mesh_has_the_edges_of_all_levels():
    found = set(map(tuple, icosphere(3, multi_mesh=True).edges().T.tolist()))
    assert found == {edge for levels in range(4) for edge in map(tuple, icosphere(levels).edges().T.tolist())}
    with pytest.raises(ConfigError, match="got -1"):
        icosphere(-1)
