"""Unstructured data: meshes, and graphs whose nodes are dealt to ranks."""

from typing import TYPE_CHECKING

from hpcml.core.lazy import lazily

if TYPE_CHECKING:
    from hpcml.graphs.graph import Graph
    from hpcml.graphs.mesh import Mesh
    from hpcml.graphs.mesh_file import read_mesh
    from hpcml.graphs.mesh_graph import MeshGraph
    from hpcml.graphs.mesh_shapes import icosphere, structured, triangulated

_HOMES = {
    "graph": ("Graph",),
    "mesh": ("Mesh",),
    "mesh_file": ("read_mesh",),
    "mesh_graph": ("MeshGraph",),
    "mesh_shapes": ("icosphere", "structured", "triangulated"),
}
__all__ = ["Graph", "Mesh", "MeshGraph", "icosphere", "read_mesh", "structured", "triangulated"]
__getattr__, __dir__ = lazily(__name__, {name: f"hpcml.graphs.{module}" for module, names in _HOMES.items() for name in names})
