"""Linear elements on triangles: exact for linear functions, in the plane, in a box and on a sphere, the same on any number of ranks."""

import math

import numpy as np
import pytest
import torch
from mpi4py import MPI

from hpcml.core.errors import ShapeError
from hpcml.graphs import Mesh, Triangles, channel_with_cylinder, icosphere, structured, triangulated


def plane_of(nodes=40):
    corners = [[0, 0], [1, 0], [0, 1], [1, 1]]
    return triangulated(np.concatenate([corners, np.random.default_rng(3).random((nodes, 2))]))


@pytest.mark.parallel([1, 2, 3])
def test_what_is_linear_has_its_slope_everywhere(comm):
    with Triangles.of(plane_of() if comm.rank == 0 else None, comm) as plane:
        x, y = plane.positions.T
        slopes = plane.gradient(plane.at_corners((1 + 2 * x - 3 * y)[:, None]))[..., 0]
        torch.testing.assert_close(slopes, torch.tensor([2.0, -3.0], dtype=torch.float64).expand_as(slopes), rtol=1e-9, atol=1e-9)
        assert comm.allreduce(float(plane.mass.sum())) == pytest.approx(1.0, rel=1e-12)
        assert comm.allreduce(len(plane.cells["triangle"])) == plane_of().num_cells
        interior = plane.types == 0
        assert float(plane.stiff(x[:, None])[interior].abs().sum()) < 1e-10


@pytest.mark.parallel([1, 2, 3])
def test_operators_and_their_gradients_are_those_of_one_rank(comm):
    mesh = plane_of()
    with Triangles.of(mesh, comm) as plane, Triangles.of(mesh, MPI.COMM_SELF) as alone:
        whole = torch.randn(2, len(alone.nodes), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        found = []
        for part, u in ((plane, whole[:, plane.nodes]), (alone, whole)):
            u = u.clone().requires_grad_()
            at_corners = part.at_corners(u)
            out = part.stiff(u) + part.at_nodes(at_corners**2 * part.gradient(at_corners).square().sum(-2, keepdim=True))
            (out**2).sum().backward()
            found.append((out.detach(), u.grad))
        for mine, expected in zip(*found, strict=True):
            torch.testing.assert_close(mine, expected[:, plane.nodes], rtol=1e-11, atol=1e-11 * float(expected.abs().max()))


def test_a_box_closes_on_itself_and_a_sphere_has_its_area():
    number = np.arange(9).reshape(3, 3)
    a, b, c, d = (np.roll(number, (-i, -j), (0, 1)).ravel() for i, j in ((0, 0), (1, 0), (1, 1), (0, 1)))
    points = np.stack(np.divmod(np.arange(9), 3), 1) / 3
    mesh = Mesh(points, {"triangle": np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])})
    with Triangles.of(mesh, MPI.COMM_SELF, box=(1.0, 1.0)) as box:
        assert float(box.mass.sum()) == pytest.approx(1.0) and float(box.mass.max()) == pytest.approx(1 / 9)
    with Triangles.of(icosphere(3), MPI.COMM_SELF) as sphere:
        assert float(sphere.mass.sum()) == pytest.approx(4 * math.pi, rel=0.01)
        z = sphere.positions[:, 2:]  # -Laplacian z = 2 z on the unit sphere
        assert float((z * sphere.stiff(z)).sum() / (sphere.mass * z**2).sum()) == pytest.approx(2.0, rel=0.02)


def test_a_channel_has_walls_an_inflow_and_an_outflow():
    mesh = channel_with_cylinder(2.2, 0.41, (0.2, 0.2), 0.05, 6)
    x, y = mesh.points.T
    kinds = dict(zip(mesh.type_names, (mesh.node_types == kind for kind in range(4)), strict=True))
    assert np.allclose(x[kinds["inflow"]], 0) and np.allclose(x[kinds["outflow"]], 2.2)
    circle = kinds["wall"] & (np.abs(y - 0.205) < 0.2)
    assert np.allclose(np.hypot(x[circle] - 0.2, y[circle] - 0.2), 0.05) and circle.sum() == 24
    assert not (kinds["interior"] & ((y < 1e-9) | (y > 0.41 - 1e-9))).any()
    with Triangles.of(mesh, MPI.COMM_SELF) as channel:
        assert float(channel.mass.sum()) == pytest.approx(2.2 * 0.41 - math.pi * 0.05**2, rel=1e-3)


@pytest.mark.parallel([1, 2])
def test_what_has_no_area_or_is_no_triangle_is_refused_on_every_rank(comm):
    flat = Mesh([[0, 0], [1, 0], [2, 0], [0, 1]], {"triangle": [[0, 1, 2], [0, 1, 3]]})
    with pytest.raises(ShapeError, match="1 triangles have no area"):
        Triangles.of(flat, comm)
    with pytest.raises(ShapeError, match="finite elements here are triangles, got a mesh of quadrilateral"):
        Triangles.of(structured((3, 3), (1.0, 1.0)), comm)
