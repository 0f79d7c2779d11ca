"""Mesh files of VTK, and others that it reads."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hpcml.core.errors import CheckpointError
from hpcml.core.optional_module import optional_module
from hpcml.graphs.cell_kinds import CELL_KINDS
from hpcml.graphs.gmsh_file import Parts
from hpcml.graphs.mesh import BOUNDARY

VTK_READERS = {
    ".vtu": ("vtkIOXML", "vtkXMLUnstructuredGridReader"),
    ".vtp": ("vtkIOXML", "vtkXMLPolyDataReader"),
    ".vtk": ("vtkIOLegacy", "vtkDataSetReader"),
    ".stl": ("vtkIOGeometry", "vtkSTLReader"),
    ".ply": ("vtkIOPLY", "vtkPLYReader"),
}
_NAMES = {number: name for name, kind in CELL_KINDS.items() for number in kind.vtk}
_GRID_CELLS = {8: ("quadrilateral", (0, 1, 3, 2)), 11: ("hexahedron", (0, 1, 3, 2, 4, 5, 7, 6))}
"""VTK's cells of image data: what they are, and the order of corners."""
_POINTS = (0, 1, 2)
"""Cells without an edge."""
_POLYLINE = 4


def read_vtk(path: Path) -> Parts:
    """Parts of the mesh in a file; see `hpcml.graphs.read_mesh`.

    Communication
    -------------
    Local.
    """
    module, name = VTK_READERS[path.suffix]
    reader, append = getattr(_vtk(module), name)(), _vtk("vtkFiltersCore").vtkAppendFilter()  # makes an unstructured grid of everything
    with _errors(reader, append) as errors:
        reader.SetFileName(str(path))
        reader.Update()
        data = reader.GetOutputDataObject(0)
        if data is not None and data.IsA("vtkDataSet"):
            append.AddInputDataObject(data)
            append.Update()
    grid = append.GetOutput()
    if errors or not grid.GetNumberOfCells():
        words = "it is damaged, or of another kind" if errors else "it holds no cells"
        raise CheckpointError(f"{path} cannot be read as {path.suffix}: {words}")
    return _parts(grid, path)


@contextmanager
def _errors(*filters: Any) -> Iterator[list[str]]:
    """Collect the errors of VTK, which raises none, instead of having them printed."""
    core, errors = _vtk("vtkCommonCore"), []
    window, logger = core.vtkOutputWindow.GetInstance(), core.vtkLogger
    observed = [window, *filters, *(each.GetExecutive() for each in filters)]
    tags = [each.AddObserver("ErrorEvent", lambda _, event: errors.append(event)) for each in observed]
    mode, verbosity = window.GetDisplayMode(), logger.GetCurrentVerbosityCutoff()
    window.SetDisplayModeToNever()
    logger.SetStderrVerbosity(logger.VERBOSITY_OFF)
    try:
        yield errors
    finally:
        logger.SetStderrVerbosity(verbosity)
        window.SetDisplayMode(mode)
        for each, tag in zip(observed, tags, strict=True):
            each.RemoveObserver(tag)


def _vtk(module: str) -> Any:
    return optional_module(f"vtkmodules.{module}", "meshes of VTK need the package vtk", "'hpcml[meshes]'")


def _parts(grid: Any, path: Path) -> Parts:
    array = _vtk("util.numpy_support").vtk_to_numpy
    points = array(grid.GetPoints().GetData()).astype(np.float64)
    first = array(grid.GetCells().GetOffsetsArray()).astype(np.int64)
    corners, kinds = array(grid.GetCells().GetConnectivityArray()).astype(np.int64), array(grid.GetCellTypes())
    cells: dict[str, list[np.ndarray]] = {}
    for kind in np.unique(kinds):
        if kind in _POINTS:
            continue
        if kind == _POLYLINE:
            within = np.concatenate([np.arange(a, b - 1) for a, b in zip(first[:-1][kinds == kind], first[1:][kinds == kind], strict=True)])
            cells.setdefault("line", []).append(np.stack([corners[within], corners[within + 1]], 1))
            continue
        if kind not in _NAMES and kind not in _GRID_CELLS:
            raise CheckpointError(f"{path} has cells of VTK's kind {kind}: expected {', '.join(CELL_KINDS)}; triangulate it first")
        name, order = _GRID_CELLS.get(kind) or (_NAMES[kind], tuple(range(CELL_KINDS[_NAMES[kind]].corners)))
        cells.setdefault(name, []).append(corners[first[:-1][kinds == kind][:, None] + np.array(order)])
    types: np.ndarray | None = None
    names: tuple[str, ...] = BOUNDARY
    if (given := grid.GetPointData().GetArray("node_types")) is not None:
        types = array(given).astype(np.int64)
        names = ("interior", *(f"group {number}" for number in range(1, int(types.max(initial=0)) + 1)))
    return points, {kind: np.concatenate(parts) for kind, parts in cells.items()}, types, names
