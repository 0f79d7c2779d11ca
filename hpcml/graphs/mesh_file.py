"""Mesh files of other programs, read by the libraries that those programs are made of: Gmsh's by gmsh, the others by VTK."""

from pathlib import Path

from hpcml.core.errors import CheckpointError, ConfigError
from hpcml.graphs.cell_kinds import CELL_KINDS
from hpcml.graphs.gmsh_file import read_gmsh
from hpcml.graphs.mesh import Mesh, distinct_cells, without_unused
from hpcml.graphs.vtk_file import VTK_READERS, read_vtk


def read_mesh(path: Path | str, clean: bool = False) -> Mesh:
    """Read a mesh file, on the calling rank; ``.msh`` of Gmsh, ``.vtu``, ``.vtp``, ``.vtk``, ``.stl``, ``.ply``.

    Parameters
    ----------
    path : Path or str
        The file.
    clean : bool
        Drop cells that `Mesh` refuses, instead of refusing them.

    Returns
    -------
    Mesh
        With the cells of the highest dim of a ``.msh``; its physical groups of one dim less are the types of nodes, in the order of their
        numbers, after ``interior``; a node of several groups has the first. Other files: all cells; an array ``node_types`` of integers at
        points, if there is one, or which nodes lie at the boundary. Cells of higher order become those of their corners. Nodes without a
        cell are dropped. A mesh without volumes whose third coordinate is 0 throughout has two.

    Raises
    ------
    CheckpointError
        If there is no such file, or what is in it is not what its name says.
    ConfigError
        For a name of another ending, or where the library is not installed.
    ShapeError
        As for `Mesh`.

    Communication
    -------------
    Local. Give what one rank has read to `hpcml.graphs.MeshGraph.of`.
    """
    path = Path(path)
    if path.suffix != ".msh" and path.suffix not in VTK_READERS:
        raise ConfigError(f"{path} ends in {path.suffix!r}: meshes are read from {', '.join(['.msh', *VTK_READERS])}")
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    points, cells, types, names = read_gmsh(path) if path.suffix == ".msh" else read_vtk(path)
    cells = {kind: corners for kind, corners in cells.items() if len(corners)}
    if not cells:
        raise CheckpointError(f"{path} holds no mesh, or no cell that is known: {', '.join(CELL_KINDS)}")
    points, cells, used = without_unused(points, distinct_cells(cells) if clean else cells)
    flat = max(CELL_KINDS[kind].dim for kind in cells) < 3 and not points[:, 2:].any()
    known = {} if types is None else {"node_types": types[used]}
    return Mesh(points[:, :2] if flat else points, cells, **known, type_names=names)
