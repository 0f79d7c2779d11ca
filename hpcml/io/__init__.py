"""Files: checkpoints to restart from, snapshots to look at, datasets to learn from. Imported when used: helper processes stay small."""

from typing import TYPE_CHECKING

from hpcml.core.lazy import lazily

if TYPE_CHECKING:
    from hpcml.io.checkpoint import Blocked, Checkpointer, Restored, Rows, SaveInterval, restore
    from hpcml.io.dataset import open_dataset
    from hpcml.io.snapshot.compression import Compression
    from hpcml.io.snapshot.field import Field
    from hpcml.io.snapshot.follow import follow
    from hpcml.io.snapshot.geometry import Geometry
    from hpcml.io.snapshot.location import Location
    from hpcml.io.snapshot.series import Series
    from hpcml.io.snapshot.snapshot_file import SnapshotFile, find_snapshots
    from hpcml.io.snapshot.uniform_grid import UniformGrid
    from hpcml.io.snapshot.unstructured_grid import UnstructuredGrid
    from hpcml.io.snapshot.writer import SnapshotWriter
    from hpcml.io.snapshot.xarray_backend import open_snapshots
    from hpcml.mpi import StopSignal

_HOMES = {
    "io.checkpoint": ("Blocked", "Checkpointer", "Restored", "Rows", "SaveInterval", "restore"),
    "io.dataset": ("open_dataset",),
    "io.snapshot.compression": ("Compression",),
    "io.snapshot.field": ("Field",),
    "io.snapshot.follow": ("follow",),
    "io.snapshot.geometry": ("Geometry",),
    "io.snapshot.location": ("Location",),
    "io.snapshot.unstructured_grid": ("UnstructuredGrid",),
    "io.snapshot.series": ("Series",),
    "io.snapshot.snapshot_file": ("SnapshotFile", "find_snapshots"),
    "io.snapshot.uniform_grid": ("UniformGrid",),
    "io.snapshot.writer": ("SnapshotWriter",),
    "io.snapshot.xarray_backend": ("open_snapshots",),
    "mpi": ("StopSignal",),
}
__all__ = [
    "Blocked",
    "Checkpointer",
    "Compression",
    "Field",
    "Geometry",
    "Location",
    "Restored",
    "Rows",
    "SaveInterval",
    "Series",
    "SnapshotFile",
    "SnapshotWriter",
    "StopSignal",
    "UniformGrid",
    "UnstructuredGrid",
    "find_snapshots",
    "follow",
    "open_dataset",
    "open_snapshots",
    "restore",
]
__getattr__, __dir__ = lazily(__name__, {name: f"hpcml.{home}" for home, names in _HOMES.items() for name in names})
