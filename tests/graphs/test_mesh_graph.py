"""A mesh over ranks has the nodes, edges, cells and types of the mesh, each once, and shows all of them."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mpi4py import MPI

from hpcml.core.errors import CheckpointError, HpcmlError, ShapeError
from hpcml.graphs import Mesh, MeshGraph, PartitionReport, icosphere, read_mesh, structured, triangulated
from hpcml.topology.block import block_range

PIPE = Path(os.environ.get("HPCML_TEST_PIPE", "turbPipe.msh"))
"""The mesh of nekRS's example turbPipe, where somebody has it."""


def mixed():
    """Hexahedra, wedges and pyramids, a line, and a node without a cell."""
    box = structured((4, 3, 3), (3.0, 2.0, 2.0))
    corners = box.cells["hexahedron"]
    cut = corners[5:]
    wedges = np.concatenate([cut[:, [0, 1, 2, 4, 5, 6]], cut[:, [0, 2, 3, 4, 6, 7]]])
    top = len(box.points)
    points = np.concatenate([box.points, [[0.5, 0.5, 5.0], [9.0, 9.0, 9.0]]])
    pyramid = [*corners[1, 4:], top]
    return Mesh(points, {"hexahedron": corners[:5], "wedge": wedges, "pyramid": [pyramid], "line": [[0, top]]})


MESHES = {
    "mixed": mixed,
    "sphere": lambda: icosphere(2, multi_mesh=True),
    "plane": lambda: triangulated(np.random.default_rng(1).random((80, 2))),
    "pieces": lambda: Mesh(np.eye(3)[[0, 1, 2, 0, 1, 2]] + np.arange(6)[:, None] // 3, {"triangle": [[0, 1, 2], [3, 4, 5]]}),
}


def share(rows, comm):
    mine = block_range(len(rows), comm.size, comm.rank)
    return rows[mine.start : mine.stop]


def dealt(how, mesh, comm):
    if how == "by the first rank":
        return MeshGraph.of(mesh if comm.rank == 0 else None, comm)
    if how == "by a map":
        return MeshGraph.of(mesh if comm.rank == 0 else None, comm, np.arange(len(mesh.points)) % max(comm.size - 1, 1))
    cells = {kind: share(corners, comm) for kind, corners in mesh.cells.items()}
    return MeshGraph.deal(share(mesh.points, comm), cells, comm, links=share(mesh.links.T, comm).T, method="curve")


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize("how", ["by the first rank", "by a map", "from parts"])
@pytest.mark.parametrize("name", MESHES)
def test_the_parts_make_up_the_mesh(comm, name, how):
    mesh = MESHES[name]()
    part = dealt(how, mesh, comm)
    with part.graph as graph:
        own = graph.nodes.numpy()
        assert np.array_equal(graph.positions.numpy(), mesh.points[own])
        assert np.array_equal(part.node_types.numpy(), mesh.node_types[own])
        ends = torch.cat([graph.nodes, graph.ghosts])[graph.edge_index[0]], graph.nodes[graph.edge_index[1]]
        assert np.array_equal(torch.stack(ends).numpy(), mesh.edges()[:, graph.edges.numpy()])
        assert graph.num_edges_global == mesh.edges().shape[1]
        for kind, corners in mesh.cells.items():
            mine = part.cells.get(kind, np.zeros((0, corners.shape[1]), int))
            assert (
                np.array_equal(mine, corners[part.cell_numbers.get(kind, [])])
                and np.isin(mine.min(1, initial=own.max(initial=0)), own).all()
            )
            numbers = np.concatenate(comm.allgather(part.cell_numbers.get(kind, np.zeros(0, int))))
            assert np.array_equal(np.sort(numbers), np.arange(len(corners)))


@pytest.mark.parallel([1, 2, 3])
def test_every_cell_is_shown_once_between_its_points(comm):
    mesh = mixed()
    part = dealt("by the first rank", mesh, comm)
    with part.graph:
        shown = part.shown()
        points, topology = (np.concatenate(comm.allgather(array)) for array in (shown.positions, shown.topology))
        found, at = set(), 0
        sizes = {2: 2, 7: 5, 8: 6, 9: 8}
        while at < len(topology):
            kind = int(topology[at])
            at += 2 if kind == 2 else 1
            found.add((kind, points[topology[at : at + sizes[kind]]].tobytes()))
            at += sizes[kind]
        numbers = {"line": 2, "pyramid": 7, "wedge": 8, "hexahedron": 9}
        assert found == {(numbers[kind], mesh.points[cell].tobytes()) for kind, corners in mesh.cells.items() for cell in corners}
        assert shown.cells.shape == (mesh.num_cells,)


@pytest.mark.parallel([1, 2, 3])
def test_what_is_wrong_is_said_on_every_rank(comm):
    box = structured((3, 3), (1.0, 1.0))
    points, cells = share(box.points, comm), {"quadrilateral": share(box.cells["quadrilateral"], comm)}
    last = comm.rank == comm.size - 1
    again = {"quadrilateral": box.cells["quadrilateral"][[0] * (1 + (comm.size == 1))]}  # which the first of several ranks has too
    for words, change in {
        "numbers below 9": {"cells": {"quadrilateral": [[0, 1, 2, 9]]}},
        "have a node twice": {"cells": {"quadrilateral": [[0, 1, 1, 2]]}},
        "are there before": {"cells": again},
        "not finite": {"points": points * np.nan},
        "below 2, the number": {"node_types": np.full(len(points), 5)},
        "map of": {"method": np.zeros(len(points) + 1, int)},
    }.items():
        with pytest.raises(ShapeError, match=words):
            MeshGraph.deal(**{"points": points, "cells": cells} | (change if last else {}), world=comm)
    with pytest.raises(ShapeError, match="the first rank has no mesh"):
        MeshGraph.of(None if comm.rank == 0 else box, comm)
    for other, words in (
        (box.points, "has a ndarray to deal: expected an hpcml.graphs.Mesh"),
        ("a.msh", "a str .*MeshGraph.read takes files"),
    ):
        with pytest.raises(ShapeError, match=words):
            MeshGraph.of(other if comm.rank == 0 else None, comm)
    with pytest.raises(ShapeError, match="map of 9 nodes"):
        MeshGraph.of(box, comm, np.zeros(8, int))
    if comm.size > 1:
        with pytest.raises(ShapeError, match="by all ranks or by none"):
            MeshGraph.deal(points, cells, comm, node_types=np.zeros(len(points), int) if last else None)
        with pytest.raises(ShapeError, match=r"alike on all ranks, got \('interior', 'boundary'\) and \('interior', 'wall'\)"):
            MeshGraph.deal(points, cells, comm, type_names=("interior", "wall" if last else "boundary"))


@pytest.mark.parallel([1, 2, 3])
def test_a_file_that_cannot_be_read_is_told_on_every_rank(comm, shared_path):
    with pytest.raises(CheckpointError, match="there is no file"):
        MeshGraph.read(shared_path / "absent.msh", comm)
    for name in ("mesh.msh", "mesh.vtu", "mesh.stl"):
        if comm.rank == 0:
            (shared_path / name).write_text("no mesh\n")
        comm.Barrier()
        with pytest.raises(HpcmlError, match=f"{name}|pip install"):
            MeshGraph.read(shared_path / name, comm)


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize("method", ["bisection", "metis"])
def test_a_pipe_of_hexahedra_is_read_by_one_rank_and_dealt_to_all(comm, method):
    pytest.importorskip("gmsh")
    if method == "metis":
        pytest.importorskip("pymetis")
    if not PIPE.exists():
        pytest.skip("HPCML_TEST_PIPE names no mesh of a pipe")
    mesh = read_mesh(PIPE)
    with MeshGraph.read(PIPE, comm, method=method).graph as graph:
        part = PartitionReport.of(graph)
        assert graph.num_edges_global == mesh.edges().shape[1] and part.nodes.sum() == len(mesh.points) and part.node_imbalance <= 1.05
    for name in ("bisection", "curve"):
        part = MeshGraph.read(PIPE, comm, method=name)
        assert sum(comm.allgather(len(part.cells["hexahedron"]))) == 7920
        assert comm.allreduce(int((part.node_types == part.type_names.index("wall")).sum())) == 1416
        assert part.shown().cells.shape == (7920,)
        part.graph.close()


@pytest.mark.parallel([2, 4])
def test_groups_of_ranks_each_have_the_whole_mesh(comm):
    mesh = icosphere(1)
    part = MeshGraph.of(mesh, comm, data=2)
    with part.graph as graph:
        assert np.array_equal(np.sort(np.concatenate(graph.comm.allgather(graph.nodes.numpy()))), np.arange(42))
        assert graph.comm.size == comm.size // 2


def test_a_rank_alone_has_all():
    mesh = icosphere(1)
    part = MeshGraph.of(mesh, MPI.COMM_SELF)
    assert np.array_equal(part.cells["triangle"], mesh.cells["triangle"]) and len(part.graph.ghosts) == 0


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("links", [np.array([[99], [100]]), np.array([[-1], [3]]), np.zeros((3, 2), np.int64)])
def test_links_that_cannot_be_are_refused_on_every_rank(comm, links):
    mesh = structured((3, 3), (1.0, 1.0))
    mine = slice(None) if comm.rank == 0 else slice(0)
    cells = {kind: corners[mine] for kind, corners in mesh.cells.items()}
    with pytest.raises(ShapeError, match="links of a mesh are"):
        MeshGraph.deal(mesh.points[mine], cells, comm, links=links if comm.rank == comm.size - 1 else np.zeros((2, 0), np.int64))
