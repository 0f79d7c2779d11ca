"""Unstructured data: meshes, and graphs whose nodes are dealt to ranks."""

from typing import TYPE_CHECKING

from hpcml.core.lazy import lazily

if TYPE_CHECKING:
    from hpcml.graphs.channel_mesh import channel_with_cylinder
    from hpcml.graphs.cloud import Cloud
    from hpcml.graphs.data_graph import DataGraph
    from hpcml.graphs.edge_attention import edge_products, weighted_sum
    from hpcml.graphs.encodings import fast_rp, random_feature_propagation, random_walk_encoding
    from hpcml.graphs.graph import Graph
    from hpcml.graphs.hops import power
    from hpcml.graphs.mesh import Mesh
    from hpcml.graphs.mesh_file import read_mesh
    from hpcml.graphs.mesh_graph import MeshGraph
    from hpcml.graphs.mesh_shapes import icosphere, structured, triangulated
    from hpcml.graphs.near import Near
    from hpcml.graphs.neighbors import Nearest, Within
    from hpcml.graphs.overlapping import on_edges
    from hpcml.graphs.partition_picture import draw_partition
    from hpcml.graphs.partition_report import PartitionReport, partition_table
    from hpcml.graphs.partitioning import partition
    from hpcml.graphs.schedule import Overlapped, Schedule
    from hpcml.graphs.stale import Stale
    from hpcml.graphs.triangles import Triangles

_HOMES = {
    "edge_attention": ("edge_products", "weighted_sum"),
    "cloud": ("Cloud",),
    "data_graph": ("DataGraph",),
    "encodings": ("fast_rp", "random_feature_propagation", "random_walk_encoding"),
    "graph": ("Graph",),
    "hops": ("power",),
    "mesh": ("Mesh",),
    "mesh_file": ("read_mesh",),
    "mesh_graph": ("MeshGraph",),
    "near": ("Near",),
    "neighbors": ("Nearest", "Within"),
    "overlapping": ("on_edges",),
    "partitioning": ("partition",),
    "partition_picture": ("draw_partition",),
    "partition_report": ("PartitionReport", "partition_table"),
    "schedule": ("Overlapped", "Schedule"),
    "stale": ("Stale",),
    "channel_mesh": ("channel_with_cylinder",),
    "triangles": ("Triangles",),
    "mesh_shapes": ("icosphere", "structured", "triangulated"),
}
__all__ = [
    "Cloud",
    "DataGraph",
    "Graph",
    "Mesh",
    "MeshGraph",
    "Near",
    "Nearest",
    "Overlapped",
    "PartitionReport",
    "Schedule",
    "Stale",
    "Triangles",
    "Within",
    "channel_with_cylinder",
    "draw_partition",
    "edge_products",
    "fast_rp",
    "icosphere",
    "on_edges",
    "partition",
    "partition_table",
    "power",
    "random_feature_propagation",
    "random_walk_encoding",
    "read_mesh",
    "structured",
    "triangulated",
    "weighted_sum",
]
__getattr__, __dir__ = lazily(__name__, {name: f"hpcml.graphs.{module}" for module, names in _HOMES.items() for name in names})
