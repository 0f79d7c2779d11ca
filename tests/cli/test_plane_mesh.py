"""A mesh in the plane is read from the stream of cells, and one that is no such stream is refused."""

import numpy as np
import pytest

from hpcml.cli.plane_mesh import PlaneMesh
from hpcml.core.errors import CheckpointError

X, Y = np.array([0.0, 1, 1, 0, 2]), np.array([0.0, 0, 1, 1, 0])


def test_triangles_squares_and_what_is_left_out():
    mesh = PlaneMesh.of(X, Y, np.array([4, 0, 1, 2, 4, 0, 2, 3, 5, 0, 1, 2, 3, 2, 2, 1, 4, 1, 1, 3, 4, 1, 4, 2]))
    assert mesh.triangles.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2], [0, 2, 3], [1, 4, 2]]


@pytest.mark.parametrize("topology", [[4, 0, 1, 2, 4, 0], [6, 0, 1, 2, 3], [4, 0, 1, 9], [4, -1, 1, 2]])
def test_a_stream_that_cannot_be_is_refused(topology):
    with pytest.raises(CheckpointError, match="cells"):
        PlaneMesh.of(X, Y, np.array(topology))
