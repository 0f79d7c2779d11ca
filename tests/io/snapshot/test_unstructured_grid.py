"""A mesh that ranks hold in parts is in the files as one, with its values, for VTK, xarray and plain HDF5; other ranks go on with it."""

import math
from pathlib import Path

import h5py
import numpy as np
import pytest
from mpi4py import MPI

from hpcml.core.errors import CheckpointError, ConfigError, ShapeError
from hpcml.io import Field, Series, SnapshotFile, SnapshotWriter, UniformGrid, UnstructuredGrid, open_snapshots
from hpcml.topology.block import BlockRange, block_range

VTK_TYPES = {"triangle": 5, "quadrilateral": 9, "tetrahedron": 10, "hexahedron": 12}


def whole(num_dims):
    """Points, and cells of two kinds as (kind, points): a rectangle, half of its cells cut in two, or a box, one of its two cut in five."""
    if num_dims == 2:
        points = np.array([(0.5 * x, y * y) for y in range(3) for x in range(4)])
        squares = [(p, p + 1, p + 5, p + 4) for p in (0, 1, 2, 4, 5, 6)]
        return points, [("triangle", t) for a, b, c, d in squares[:3] for t in ((a, b, c), (a, c, d))] + [
            ("quadrilateral", square) for square in squares[3:]
        ]
    points = np.array([(x, y, 2.0 * z) for z in range(2) for y in range(2) for x in range(3)])
    near, far = (tuple(x + p for p in (0, 1, 4, 3, 6, 7, 10, 9)) for x in range(2))
    corners = [(0, 1, 3, 4), (1, 2, 3, 6), (1, 3, 4, 6), (3, 4, 6, 7), (1, 4, 5, 6)]
    return points, [("tetrahedron", tuple(near[c] for c in corner)) for corner in corners] + [("hexahedron", far)]


def mesh_of(num_dims, comm):
    """Deal points by the rule of ownership, and cells such that the last of several ranks has none."""
    points, cells = whole(num_dims)
    own, workers = block_range(len(points), comm.size, comm.rank), max(comm.size - 1, 1)
    share = block_range(len(cells), workers, comm.rank) if comm.rank < workers else BlockRange(len(cells), len(cells))
    mine = cells[share.start : share.stop]
    return UnstructuredGrid.joined(points[own.start : own.stop], {kind: [c for k, c in mine if k == kind] for kind in dict(cells)}, comm)


def values(step, num_dims):
    points, cells = whole(num_dims)
    return {"u": np.stack([step + np.arange(len(points)), points[:, 1]]), "rank": 100.0 * step + np.arange(len(cells))}


def write(path, num_dims, comm, steps, **options):
    mesh = mesh_of(num_dims, comm)
    fields = (Field("u", "K", (("sample", 2),)), Field("rank", dtype="float64", at="cells"))
    points, cells = (slice(at.offset[0], at.offset[0] + at.local_shape[0]) for at in (mesh.points, mesh.cells))
    with SnapshotWriter(path, Series(mesh, fields, "s", "m"), comm, **options) as snapshots:
        for step in range(len(snapshots.times), steps):
            found = values(step, num_dims)
            snapshots.append(0.5 * step, {"u": found["u"][:, points], "rank": found["rank"][cells]})


def assert_holds(path, num_dims, steps):
    """Everything, as our reader, xarray and plain HDF5 give it."""
    points, cells = whole(num_dims)
    stream = np.concatenate([[{"triangle": 4, "quadrilateral": 5, "tetrahedron": 6, "hexahedron": 9}[kind], *c] for kind, c in cells])
    file = SnapshotFile(path)
    assert file.view.times.tolist() == [0.5 * step for step in range(steps)]
    with h5py.File(path) as plain:
        for name, expected in [*zip("xyz", points.T, strict=False), ("topology", stream)]:
            assert np.array_equal(file.read(name), expected) and np.array_equal(plain[name], expected)
        for step in range(steps):
            for name, expected in values(step, num_dims).items():
                assert np.array_equal(file.read(name, (step,)), expected.astype(plain[name].dtype))
                assert np.array_equal(plain[name][step], expected.astype(plain[name].dtype))


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("num_dims", [2, 3])
def test_what_ranks_write_is_there_whole(num_dims, comm, shared_path, layout):
    write(shared_path / "run.h5", num_dims, comm, 2, layout=layout)
    assert_holds(shared_path / "run.h5", num_dims, 2)


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("num_dims", [2, 3])
def test_vtk_shows_points_cells_and_values_at_their_time(num_dims, comm, shared_path, read_xdmf):
    write(shared_path / "run.h5", num_dims, comm, 2)
    if comm.rank:
        return
    support = pytest.importorskip("vtkmodules.util.numpy_support")
    points, cells = whole(num_dims)
    for step, (time, grid) in enumerate(read_xdmf(shared_path / "run.xdmf")):
        assert time == 0.5 * step
        shown = support.vtk_to_numpy(grid.GetPoints().GetData())
        assert np.array_equal(shown[:, :num_dims], points) and not shown[:, num_dims:].any()
        assert [grid.GetCellType(i) for i in range(grid.GetNumberOfCells())] == [VTK_TYPES[kind] for kind, _ in cells]
        offsets, ids = (support.vtk_to_numpy(get()) for get in (grid.GetCells().GetOffsetsArray, grid.GetCells().GetConnectivityArray))
        assert [tuple(part) for part in np.split(ids, offsets[1:-1])] == [c for _, c in cells]
        expected = values(step, num_dims)
        for data, name, array in (
            (grid.GetPointData(), "u sample 1", expected["u"][1]),
            (grid.GetPointData(), "u sample 0", expected["u"][0]),
            (grid.GetCellData(), "rank", expected["rank"]),
        ):
            assert np.array_equal(support.vtk_to_numpy(data.GetArray(name)), array.astype(np.float32 if "u" in name else float))
    assert step == 1


@pytest.mark.parallel([1, 2])
def test_vtk_shows_a_cell_of_every_kind(comm, shared_path, read_xdmf):
    """A line is a polyline to VTK."""
    sizes = {"line": (4, 2), "triangle": (5, 3), "quadrilateral": (9, 4), "tetrahedron": (10, 4)} | {
        "pyramid": (14, 5),
        "wedge": (13, 6),
        "hexahedron": (12, 8),
    }
    mine = sizes if comm.rank == comm.size - 1 else {}
    mesh = UnstructuredGrid.joined(
        np.random.default_rng(comm.rank).random((8, 3)), {kind: [range(size)] for kind, (_, size) in mine.items()}, comm
    )
    with SnapshotWriter(shared_path / "run.h5", Series(mesh, [Field("u")]), comm) as snapshots:
        snapshots.append(0.0, {"u": np.arange(8)})
    if comm.rank == 0:
        ((_, grid),) = read_xdmf(shared_path / "run.xdmf")
        shown = {grid.GetCellType(i): grid.GetCell(i).GetPointIds() for i in range(grid.GetNumberOfCells())}
        assert {kind: [ids.GetId(i) for i in range(ids.GetNumberOfIds())] for kind, ids in shown.items()} == {
            kind: list(range(size)) for kind, size in sizes.values()
        }


def test_xarray_has_the_points_as_coordinates(tmp_path, comm):
    pytest.importorskip("xarray")
    write(tmp_path / "run.h5", 2, comm, 2)
    data = open_snapshots(tmp_path)
    assert data.u.dims == ("time", "sample", "point") and data["rank"].dims == ("time", "cell")
    assert set(data.u.coords) == {"time", "sample", "x", "y"} and data.x.units == "m" and set(data.coords) > {"topology"}
    assert float(data.u[1, 0].where(data.x == 1.5, drop=True)[2]) == 12


@pytest.mark.parallel([2, 3])
def test_other_ranks_go_on(comm, shared_path, layout):
    path = shared_path / "run.h5"
    write(path, 2, comm, 3, layout=layout)
    if comm.rank == 0:
        write(path, 2, MPI.COMM_SELF, 4, after=0.5)
    comm.Barrier()
    write(path, 2, comm, 5, after=math.inf, layout=layout)
    assert_holds(path, 2, 5)


def test_the_first_version_with_meshes_is_read():
    """Two steps by two ranks, then one in a file for all ranks."""
    assert_holds(Path(__file__).parent / "data" / "format-2" / "mesh.h5", 2, 3)


def test_another_numbering_is_not_gone_on_with(tmp_path, comm):
    path = tmp_path / "run.h5"
    points = np.array([[0, 0], [1, 0], [0, 1.0]])
    for turned in (points, points[::-1]):
        series = Series(UnstructuredGrid.joined(turned, {"triangle": [[0, 1, 2]]}, comm), [Field("u")])
        if turned is points:
            with SnapshotWriter(path, series, comm) as snapshots:
                snapshots.append(0.0, {"u": np.arange(3)})
    with pytest.raises(CheckpointError, match="steps on another mesh, y differs"):
        SnapshotWriter(path, series, comm, after=math.inf)


BAD = {
    "no plane": (np.zeros((3, 4)), {}, "2 or 3"),
    "unknown kind": (np.zeros((3, 2)), {"polygon": [[0, 1]]}, "got 'polygon'"),
    "too few points": (np.zeros((3, 2)), {"triangle": [[0, 1]]}, r"\(cell, 3\)"),
    "no such point": (np.zeros((3, 2)), {"triangle": [[0, 1, 99]]}, "expected global numbers below"),
    "no cells": (np.zeros((3, 2)), {"triangle": []}, "and cells"),
}


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize("name", BAD)
def test_a_mesh_that_cannot_be_is_refused_on_every_rank(name, comm):
    points, cells, message = BAD[name]
    with pytest.raises(ShapeError, match=message):
        UnstructuredGrid.joined(points, cells if comm.rank == 0 else {}, comm)


def test_a_location_that_is_not_there_is_refused(comm):
    with pytest.raises(ConfigError, match=r"cannot sit at 'edges': expected points or cells"):
        Series(mesh_of(2, comm), [Field("u", at="edges")])
    with pytest.raises(ConfigError, match="expected cells"):
        Series(UniformGrid.dealt((4,), (1.0,)), [Field("u", at="points")])
    with pytest.raises(ConfigError, match="names of their own"):
        Series(mesh_of(2, comm), [Field("topology")])
