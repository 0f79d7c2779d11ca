"""Mesh files of Gmsh and VTK are read as they were made, and others are refused by name."""

import importlib
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from hpcml.core.errors import CheckpointError, ConfigError, ShapeError
from hpcml.graphs import read_mesh

PIPE = Path(os.environ.get("HPCML_TEST_PIPE", "turbPipe.msh"))
"""The mesh of nekRS's example turbPipe, where somebody has it."""
POINTS = np.array([[x, y, z] for z in (0, 1) for y in (0, 1) for x in (0, 1, 2)] + [[0.5, 0.5, 2], [9, 9, 9]], float)
CELLS = {"pyramid": (14, [6, 7, 10, 9, 12]), "wedge": (13, [1, 2, 4, 7, 8, 10]), "hexahedron": (12, [0, 1, 4, 3, 6, 7, 10, 9])}


@pytest.fixture
def installed():
    """Gmsh, whose library needs others that a machine without graphics may lack."""
    try:
        return importlib.import_module("gmsh")
    except (ImportError, OSError) as error:
        pytest.skip(f"Gmsh cannot be imported: {error}")


@pytest.fixture
def gmsh(installed):
    module = installed
    module.initialize(readConfigFiles=False, interruptible=False)
    module.option.setNumber("General.Terminal", 0)
    yield module
    module.finalize()
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as Python begins


def is_ignored(number):
    """Whether the system ignores a signal for this process, whatever Python knows."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("SigIgn"))
    return bool(int(line.split()[1], 16) >> (number - 1) & 1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says in /proc which signals are ignored")
def test_a_pipe_that_nobody_reads_stays_an_error_of_python(tmp_path, installed):
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    nodes, cell = "3\n1 0 0 0\n2 1 0 0\n3 0 1 0", "1\n1 2 2 0 1 1 2 3"
    text = f"$MeshFormat\n2.2 0 8\n$EndMeshFormat\n$Nodes\n{nodes}\n$EndNodes\n$Elements\n{cell}\n$EndElements\n"
    (tmp_path / "one.msh").write_text(text)
    assert read_mesh(tmp_path / "one.msh").num_cells == 1 and is_ignored(signal.SIGPIPE)


def square_of(gmsh, order=1, recombine=False):
    """A unit square with a group on two of its sides, in cells of about a fifth."""
    square = gmsh.model.occ.addRectangle(0, 0, 0, 1, 1)
    gmsh.model.occ.synchronize()
    gmsh.model.addPhysicalGroup(1, [4], 7, "inlet")
    gmsh.model.addPhysicalGroup(1, [1, 3], 9)
    gmsh.model.addPhysicalGroup(2, [square], 1, "fluid")
    gmsh.option.setNumber("Mesh.MeshSizeMax", 0.2)
    if recombine:
        gmsh.model.mesh.setRecombine(2, square)
    gmsh.model.mesh.generate(2)
    gmsh.model.mesh.setOrder(order)


@pytest.mark.parametrize(("order", "recombine"), [(1, False), (2, False), (2, True)])
def test_a_mesh_of_gmsh_has_cells_in_the_plane_and_its_groups_as_types(tmp_path, gmsh, order, recombine):
    square_of(gmsh, order, recombine)
    gmsh.write(str(tmp_path / "square.msh"))
    mesh = read_mesh(tmp_path / "square.msh")
    kept = gmsh.model.list()
    x, y = mesh.points.T
    assert mesh.points.shape[1] == 2 and mesh.type_names == ("interior", "inlet", "group 9")
    expected = np.where(x < 1e-12, 1, np.where((y < 1e-12) | (y > 1 - 1e-12), 2, 0))  # corners belong to the first group
    assert np.array_equal(mesh.node_types, expected)
    area = sum(np.abs(np.cross(*_diagonals(mesh.points[corners]))).sum() / 2 for corners in mesh.cells.values())
    assert abs(area - 1) < 1e-12 and ("quadrilateral" in mesh.cells) == recombine  # sums of rounded areas
    assert gmsh.model.list() == kept == [""]  # what the caller had there


def test_what_the_caller_has_open_in_gmsh_is_left_as_it_was(tmp_path, gmsh):
    """A model of its own, with a mesh or still empty, or of the file's name; and no view of what values the file has."""
    square_of(gmsh)
    path, tags = str(tmp_path / "square.msh"), gmsh.model.mesh.getNodes()[0]
    view = gmsh.view.add("values")
    gmsh.view.addModelData(view, 0, gmsh.model.getCurrent(), "NodeData", tags, np.ones((len(tags), 1)))
    gmsh.write(path)
    gmsh.option.setNumber("PostProcessing.SaveMesh", 0)
    gmsh.view.write(view, path, append=True)
    gmsh.view.remove(view)
    for name, filled in (("mine", True), ("mine", False), ("square", True), ("square", False)):
        gmsh.clear()
        gmsh.model.add(name)
        if filled:
            square_of(gmsh, recombine=True)

        def state():
            return (
                gmsh.model.list(),
                gmsh.model.getCurrent(),
                gmsh.model.getEntities(),
                len(gmsh.model.mesh.getNodes()[0]),
                gmsh.view.getTags(),
            )

        before = state()
        assert len(read_mesh(path).points) == len(tags)
        assert [*map(str, state())] == [*map(str, before)]


def _diagonals(corners):
    a, b, c, d = corners[:, 0], corners[:, 1], corners[:, 2], corners[:, -1]
    pairs = (c - a, d - b) if corners.shape[1] == 4 else (b - a, c - a)
    return [np.insert(pair, 2, 0, 1) for pair in pairs]


def test_the_pipe_of_second_order_hexahedra_is_read(installed):
    if not PIPE.exists():
        pytest.skip("HPCML_TEST_PIPE names no mesh of a pipe")
    mesh = read_mesh(PIPE)
    assert mesh.type_names == ("interior", "inlet", "outlet", "wall") and mesh.cells["hexahedron"].shape == (7920, 8)
    z, radius = mesh.points[:, 2], np.hypot(*mesh.points[:, :2].T)
    assert np.array_equal(mesh.node_types == 1, z == z.min()) and np.array_equal(mesh.node_types == 2, z == z.max())
    assert np.array_equal(mesh.node_types == 3, (radius > radius.max() - 1e-6) & (z > z.min()) & (z < z.max()))


def write(path, cells=CELLS, types=None):
    """An unstructured grid, as VTK writes it."""
    model, core = pytest.importorskip("vtkmodules.vtkCommonDataModel"), pytest.importorskip("vtkmodules.vtkCommonCore")
    support = pytest.importorskip("vtkmodules.util.numpy_support")
    module, name = {".vtu": ("vtkIOXML", "vtkXMLUnstructuredGridWriter"), ".vtk": ("vtkIOLegacy", "vtkUnstructuredGridWriter")}[path.suffix]
    grid, points = model.vtkUnstructuredGrid(), core.vtkPoints()
    points.SetData(support.numpy_to_vtk(POINTS))
    grid.SetPoints(points)
    for kind, corners in cells.values():
        grid.InsertNextCell(kind, len(corners), corners)
    if types is not None:
        array = support.numpy_to_vtk(types)
        array.SetName("node_types")
        grid.GetPointData().AddArray(array)
    writer = getattr(pytest.importorskip(f"vtkmodules.{module}"), name)()
    writer.SetFileName(str(path))
    writer.SetInputData(grid)
    assert writer.Write()
    return path


@pytest.mark.parametrize("suffix", [".vtu", ".vtk"])
def test_a_grid_of_vtk_is_read_without_the_node_that_no_cell_has(tmp_path, suffix):
    mesh = read_mesh(write(tmp_path / f"grid{suffix}"))
    used = sorted({corner for _, corners in CELLS.values() for corner in corners})
    assert np.array_equal(mesh.points, POINTS[used])
    for kind, (_, corners) in CELLS.items():
        assert np.array_equal(mesh.points[mesh.cells[kind][0]], POINTS[corners])
    typed = read_mesh(write(tmp_path / f"typed{suffix}", types=np.arange(14) % 3))
    assert typed.node_types.tolist() == [node % 3 for node in used] and typed.type_names == ("interior", "group 1", "group 2")


def test_cells_of_images_have_their_corners_turned_and_polylines_are_lines(tmp_path):
    cells = {"voxel": (11, [0, 1, 3, 4, 6, 7, 9, 10]), "pixel": (8, [1, 2, 4, 5]), "polyline": (4, [12, 6, 7]), "vertex": (1, [13])}
    mesh = read_mesh(write(tmp_path / "grid.vtu", cells))
    assert np.array_equal(mesh.points[mesh.cells["hexahedron"][0]], POINTS[CELLS["hexahedron"][1]])
    assert np.array_equal(mesh.points[mesh.cells["quadrilateral"][0]], POINTS[[1, 2, 5, 4]])
    assert np.array_equal(mesh.points[mesh.cells["line"]], POINTS[[[12, 6], [6, 7]]])


@pytest.mark.parametrize("suffix", [".stl", ".ply", ".vtp"])
def test_surfaces_are_read_with_the_corners_that_triangles_share(tmp_path, suffix):
    sources = pytest.importorskip("vtkmodules.vtkFiltersSources")
    module, name = {
        ".stl": ("vtkIOGeometry", "vtkSTLWriter"),
        ".ply": ("vtkIOPLY", "vtkPLYWriter"),
        ".vtp": ("vtkIOXML", "vtkXMLPolyDataWriter"),
    }[suffix]
    sphere, writer = sources.vtkSphereSource(), getattr(pytest.importorskip(f"vtkmodules.{module}"), name)()
    writer.SetFileName(str(tmp_path / f"sphere{suffix}"))
    writer.SetInputConnection(sphere.GetOutputPort())
    assert writer.Write()
    mesh = read_mesh(tmp_path / f"sphere{suffix}")
    assert not mesh.node_types.any() and len(mesh.points) - mesh.edges().shape[1] // 2 + mesh.num_cells == 2  # Euler's number
    np.testing.assert_allclose(np.linalg.norm(mesh.points, axis=1), 0.5, rtol=1e-6)  # the files hold float32


def test_cells_that_no_mesh_has_are_refused_or_dropped(tmp_path):
    path = write(tmp_path / "twice.vtu", {"a": (5, [0, 1, 3]), "b": (5, [3, 1, 0]), "c": (5, [1, 1, 4]), "d": (5, [1, 4, 3])})
    with pytest.raises(ShapeError, match="clean=True"):
        read_mesh(path)
    assert read_mesh(path, clean=True).cells["triangle"].tolist() == [[0, 1, 2], [1, 3, 2]]


def test_files_of_another_kind_are_refused_by_name(tmp_path, installed):
    (tmp_path / "grid.msh").write_text('SystemCall "touch executed";\n')  # Gmsh runs scripts under any name
    with pytest.raises(CheckpointError, match="grid.msh is no mesh of Gmsh"):
        read_mesh(tmp_path / "grid.msh")
    (tmp_path / "cut.msh").write_text("$MeshFormat\n4.1 0 8\n$EndMeshFormat\n$Nodes\n1 5")
    (tmp_path / "empty.msh").write_text("$MeshFormat\n4.1 0 8\n$EndMeshFormat\n")
    for name in ("cut.msh", "empty.msh"):
        with pytest.raises(CheckpointError, match=name):
            read_mesh(tmp_path / name)


@pytest.mark.parametrize("suffix", [".vtu", ".vtp", ".vtk", ".stl", ".ply"])
def test_files_that_vtk_cannot_read_are_refused_by_name(tmp_path, suffix, capfd):
    pytest.importorskip("vtkmodules")
    for text in ("", "no mesh\n", '<?xml version="1.0"?>\n<VTKFile type="ImageData"></VTKFile>'):
        (tmp_path / f"grid{suffix}").write_text(text)
        with pytest.raises(CheckpointError, match=f"grid{suffix}"):
            read_mesh(tmp_path / f"grid{suffix}")
    assert capfd.readouterr().err == ""
    whole = write(tmp_path / "whole.vtu").read_bytes()
    (tmp_path / "half.vtu").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="half.vtu"):
        read_mesh(tmp_path / "half.vtu")
    with pytest.raises(CheckpointError, match=r"kind 7: expected .*; triangulate"):
        read_mesh(write(tmp_path / "polygon.vtu", {"polygon": (7, [0, 1, 4, 3, 6])}))


def test_other_endings_are_refused_and_missing_packages_told(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"'.cgns': meshes are read from .msh, .vtu"):
        read_mesh(tmp_path / "grid.cgns")
    with pytest.raises(CheckpointError, match="there is no file"):
        read_mesh(tmp_path / "grid.vtu")
    for name, package in {"grid.msh": "gmsh", "grid.vtu": "vtkmodules.vtkIOXML"}.items():
        (tmp_path / name).touch()
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ConfigError, match=r"pip install 'hpcml\[meshes\]'"):
            read_mesh(tmp_path / name)
