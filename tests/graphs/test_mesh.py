"""A mesh says which edges it has and where its boundary is, and what is wrong with it."""

import numpy as np
import pytest

from hpcml.core.errors import ShapeError
from hpcml.graphs import Mesh, icosphere, structured
from hpcml.graphs.cell_kinds import CELL_KINDS

CORNERS = {
    "line": [[0, 0, 0], [1, 0, 0]],
    "triangle": [[0, 0, 0], [1, 0, 0], [0, 1, 0]],
    "quadrilateral": [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]],
    "tetrahedron": [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "pyramid": [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 0.5, 1]],
    "wedge": [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 1]],
    "hexahedron": [[x, y, z] for z in (0, 1) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))],
}
SQUARE = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
HALVES = [[0, 1, 2], [0, 2, 3]]


@pytest.mark.parametrize("kind", CELL_KINDS)
def test_edges_and_faces_of_a_kind_are_those_of_vtk(kind):
    vtk = pytest.importorskip("vtkmodules.vtkCommonDataModel")
    of = CELL_KINDS[kind]
    for number in of.vtk:
        cell = vtk.vtkGenericCell()
        cell.SetCellType(number)
        assert cell.GetCellDimension() == of.dim
    cell.SetCellType(of.vtk[0])
    assert cell.GetNumberOfPoints() == of.corners

    def corners(part):
        return frozenset(part.GetPointIds().GetId(i) for i in range(part.GetNumberOfPoints()))

    for i in range(of.corners):
        cell.GetPointIds().SetId(i, i)
    if of.dim > 1:
        assert {corners(cell.GetEdge(i)) for i in range(cell.GetNumberOfEdges())} == set(map(frozenset, of.edges))
    if of.dim > 2:
        assert {corners(cell.GetFace(i)) for i in range(cell.GetNumberOfFaces())} == set(map(frozenset, of.faces))
    assert len(set(map(frozenset, of.edges))) == len(of.edges) and len(set(map(frozenset, of.faces))) == len(of.faces)


@pytest.mark.parametrize("kind", CELL_KINDS)
def test_a_cell_alone_has_its_edges_and_nothing_but_boundary(kind):
    mesh = Mesh(CORNERS[kind], {kind: [range(CELL_KINDS[kind].corners)]})
    found = set(map(tuple, mesh.edges().T.tolist()))
    assert found == {way for a, b in CELL_KINDS[kind].edges for way in ((a, b), (b, a))} and len(found) == mesh.edges().shape[1]
    assert mesh.node_types.all() and mesh.dim == CELL_KINDS[kind].dim and mesh.num_cells == 1


def test_mixed_cells_share_edges_and_faces():
    """A box of a hexahedron, two wedges beside it and a pyramid on top: what they share is there once and no boundary."""
    points = [[x, y, z] for z in (0, 1) for y in (0, 1) for x in (0, 1, 2)] + [[0.5, 0.5, 2]]
    cells = {
        "hexahedron": [[0, 1, 4, 3, 6, 7, 10, 9]],
        "wedge": [[1, 2, 4, 7, 8, 10], [2, 5, 4, 8, 11, 10]],
        "pyramid": [[6, 7, 10, 9, 12]],
    }
    mesh = Mesh(points, cells)
    assert mesh.edges().shape[1] == 2 * (20 + 2 + 4) and mesh.num_cells == 4  # of two cubes, diagonals, pyramid
    mesh = structured((5, 4, 3), (1.0, 2.0, 3.0))
    inner = ((mesh.points > 0) & (mesh.points < [1, 2, 3])).all(1)
    assert np.array_equal(mesh.node_types == 0, inner) and inner.sum() == 6


def test_edges_come_in_one_order_each_beside_its_way_back():
    edges = icosphere(1).edges()
    pairs = edges[:, ::2]
    assert np.array_equal(pairs[::-1], edges[:, 1::2]) and (pairs[0] < pairs[1]).all()
    assert np.array_equal(np.lexsort(pairs[::-1]), np.arange(pairs.shape[1]))


def test_links_join_nodes_that_no_cell_joins():
    mesh = Mesh(SQUARE, {"triangle": HALVES}, links=[[3, 1], [1, 3]])
    assert mesh.edges().shape == (2, 12) and [1, 3] in mesh.edges().T.tolist()


def test_pieces_faces_of_three_cells_and_nodes_without_a_cell_are_meshes_too():
    points = np.concatenate([np.eye(3), -np.eye(3), [[9, 9, 9]]])
    book = Mesh(points, {"triangle": [[0, 1, 2], [0, 1, 3], [0, 1, 4]]})  # an edge with three triangles
    assert book.edges().shape[1] == 14 and book.node_types.tolist() == [1, 1, 1, 1, 1, 0, 0]
    assert Mesh(points, {"triangle": [[0, 1, 2], [3, 4, 5]]}).edges().shape[1] == 12


BAD = {
    "index": ({"cells": {"triangle": [[0, 1, 4]]}}, r"cell 0 of kind triangle has nodes \[0, 1, 4\]: expected numbers below 4"),
    "negative": ({"cells": {"triangle": [[0, 1, -1]]}}, "numbers below 4"),
    "twice": ({"cells": {"triangle": [[0, 1, 2], [1, 2, 0]]}}, r"1 cells of kind triangle are there before, such as cell 1.*clean=True"),
    "collapsed": ({"cells": {"triangle": [[0, 1, 1]]}}, r"have a node twice, first of them cell 0, \[0, 1, 1\].*Mesh.cleaned"),
    "kind": ({"cells": {"polygon": [[0, 1, 2]]}}, "line, triangle, .*got 'polygon'"),
    "corners": ({"cells": {"triangle": [[0, 1]]}}, r"\(cell, 3\)"),
    "floats": ({"cells": {"triangle": [[0.0, 1.0, 2.0]]}}, "integers"),
    "points": ({"points": np.zeros((4, 1))}, r"\(node, 2 or 3\)"),
    "lost": ({"points": np.where(SQUARE == 1, np.nan, SQUARE)}, "3 points of a mesh are not finite, first of them node 1"),
    "types": ({"node_types": np.full(4, 2)}, "below 2, the number of type_names"),
    "types of others": ({"node_types": np.zeros(3, int)}, r"\(4,\)"),
    "links": ({"links": [[0], [4]]}, "numbers below 4"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_said(name):
    change, words = BAD[name]
    with pytest.raises(ShapeError, match=words):
        Mesh(**{"points": SQUARE, "cells": {"triangle": HALVES}} | change)


def test_a_mesh_is_cleaned_of_what_would_be_refused():
    mesh = Mesh.cleaned(np.concatenate([[[7, 7]], SQUARE]), {"triangle": [[1, 2, 3], [1, 3, 4], [2, 3, 1], [4, 4, 1], [0, 0, 0]]})
    assert np.array_equal(mesh.points, SQUARE) and mesh.cells["triangle"].tolist() == HALVES


def test_a_link_from_a_node_to_itself_is_one_edge():
    mesh = Mesh([[0, 0], [1, 0], [0, 1]], {}, links=[[0, 0], [0, 1]])
    assert mesh.edges().T.tolist() == [[0, 0], [0, 1], [1, 0]]


def test_links_are_integers():
    with pytest.raises(ShapeError, match="links of a mesh are .2, link., integers, numbers below 3, got float64"):
        Mesh([[0, 0], [1, 0], [0, 1]], {}, links=[[0.9], [1.9]])
