"""A mesh in the plane or on a sphere is read from the stream of cells, and one that is no such stream is refused."""

import numpy as np
import pytest

from hpcml.cli.plane_mesh import PlaneMesh
from hpcml.core.errors import CheckpointError
from hpcml.graphs import icosphere

X, Y = np.array([0.0, 1, 1, 0, 2]), np.array([0.0, 0, 1, 1, 0])


def test_triangles_squares_and_what_is_left_out():
    mesh = PlaneMesh.of(X, Y, np.array([4, 0, 1, 2, 4, 0, 2, 3, 5, 0, 1, 2, 3, 2, 2, 1, 4, 1, 1, 3, 4, 1, 4, 2]))
    assert mesh.triangles.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2], [0, 2, 3], [1, 4, 2]]


def test_a_sphere_becomes_a_map_that_ends_at_its_edge():
    mesh = icosphere(2)
    cells = mesh.cells["triangle"]
    shown = PlaneMesh.map_of(6.4e6 * mesh.points, np.concatenate([np.full((len(cells), 1), 4), cells], 1).ravel())
    longitude, latitude = np.radians(shown.points).T
    back = np.stack([np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], 1)
    np.testing.assert_allclose(back, mesh.points, atol=1e-12)
    assert shown.labels == ("longitude", "latitude") and np.ptp(shown.points[shown.triangles, 0], axis=1).max() < 180
    cut = len(cells) - len(shown.triangles)  # from pole to pole a row of some sixteen
    assert 10 < cut < 40


@pytest.mark.parametrize("topology", [[4, 0, 1, 2, 4, 0], [6, 0, 1, 2, 3], [4, 0, 1, 9], [4, -1, 1, 2]])
def test_a_stream_that_cannot_be_is_refused(topology):
    with pytest.raises(CheckpointError, match="cells"):
        PlaneMesh.of(X, Y, np.array(topology))
