"""Gmsh's mesh files, read by the package gmsh.

Geuzaine and Remacle, International Journal for Numerical Methods in Engineering 79, 1309 (2009).
"""

import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np

from hpcml.core.errors import CheckpointError
from hpcml.core.optional_module import optional_module
from hpcml.graphs.mesh import BOUNDARY

_KINDS = {"Line": "line", "Triangle": "triangle", "Quadrilateral": "quadrilateral", "Tetrahedron": "tetrahedron"} | {
    "Hexahedron": "hexahedron",
    "Prism": "wedge",
    "Pyramid": "pyramid",
}
_CORNERS = {"line": 2, "triangle": 3, "quadrilateral": 4, "tetrahedron": 4, "hexahedron": 8, "wedge": 6, "pyramid": 5}

Parts = tuple[np.ndarray, dict[str, np.ndarray], np.ndarray | None, tuple[str, ...]]
"""Points, cells, types of nodes, names of types."""


def read_gmsh(path: Path) -> Parts:
    """Parts of the mesh in a file; see `hpcml.graphs.read_mesh`.

    Communication
    -------------
    Local.
    """
    gmsh = optional_module("gmsh", "meshes of Gmsh need the package gmsh", "'hpcml[meshes]'")
    with path.open("rb") as file:
        if not file.read(11) == b"$MeshFormat":  # gmsh would take anything else for a script, and run it
            raise CheckpointError(f"{path} is no mesh of Gmsh: it does not begin with $MeshFormat")
    begun = bool(gmsh.isInitialized())
    if not begun:
        gmsh.initialize(readConfigFiles=False, interruptible=False)
        if threading.current_thread() is threading.main_thread():  # gmsh lets a pipe that nobody reads end the process; Python raises
            signal.signal(signal.SIGPIPE, signal.getsignal(signal.SIGPIPE))
        gmsh.option.setNumber("General.Terminal", 0)
    before, views = gmsh.model.getCurrent(), set(gmsh.view.getTags())
    gmsh.model.add("hpcml")  # gmsh.open would take the caller's model, if that is empty
    try:
        gmsh.merge(str(path))
        return _parts(gmsh, path)
    except CheckpointError:
        raise
    except Exception as error:  # gmsh raises nothing more special
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    finally:
        if begun:
            for view in set(gmsh.view.getTags()) - views:  # of values in the file
                gmsh.view.remove(view)
            gmsh.model.remove()
            gmsh.model.setCurrent(before)
        else:
            gmsh.finalize()


def _parts(gmsh: Any, path: Path) -> Parts:
    tags, places, _ = gmsh.model.mesh.getNodes()
    order = np.argsort(tags)
    tags, points = tags[order], places.reshape(-1, 3)[order]
    dims = [dim for dim in (3, 2, 1) if len(gmsh.model.mesh.getElements(dim)[0])]
    if not dims:
        raise CheckpointError(f"{path} holds no cells: mesh the geometry, and save all elements")
    cells: dict[str, list[np.ndarray]] = {}
    kinds, _, nodes = gmsh.model.mesh.getElements(dims[0])
    for kind, numbers in zip(kinds, nodes, strict=True):
        words, _, _, size, *_ = gmsh.model.mesh.getElementProperties(kind)
        name = _KINDS.get(words.partition(" ")[0])
        if name is None:
            raise CheckpointError(f"{path} has cells of kind {words}: expected {', '.join(_KINDS)}")
        cells.setdefault(name, []).append(np.searchsorted(tags, numbers.reshape(-1, size)[:, : _CORNERS[name]]))
    types, names = _types(gmsh, dims[0] - 1, tags)
    return points, {kind: np.concatenate(parts) for kind, parts in cells.items()}, types, names


def _types(gmsh: Any, dim: int, tags: np.ndarray) -> tuple[np.ndarray | None, tuple[str, ...]]:
    groups = sorted(gmsh.model.getPhysicalGroups(dim))
    if not groups:
        return None, BOUNDARY
    types = np.zeros(len(tags), np.int64)
    for number, group in reversed(list(enumerate(groups, 1))):  # so that the first of several wins
        types[np.searchsorted(tags, gmsh.model.mesh.getNodesForPhysicalGroup(*group)[0])] = number
    return types, ("interior", *(gmsh.model.getPhysicalName(*group) or f"group {group[1]}" for group in groups))
