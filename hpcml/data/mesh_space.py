"""The graph of a stored mesh, dealt to the ranks of a case."""

from contextlib import ExitStack
from pathlib import Path

import torch
from mpi4py import MPI

from hpcml.core import case
from hpcml.core.errors import ConfigError
from hpcml.data.case_device import case_device
from hpcml.graphs.graph import Graph
from hpcml.graphs.schedule import SYNCHRONOUS, Overlapped, Schedule
from hpcml.graphs.stale import Stale
from hpcml.io.dataset.layouts import files_of
from hpcml.io.dataset.mesh_rows import MeshRows, read_rows
from hpcml.io.dataset.on_mesh import OnMesh
from hpcml.io.files.agree import together
from hpcml.mpi.patient_comm import patient
from hpcml.mpi.world import World
from hpcml.parallel.decomposition import Decomposition
from hpcml.parallel.space import Space


def graph_of(
    path: Path,
    mesh: OnMesh,
    grid: case.Grid | None,
    ranks: case.Ranks,
    comm: MPI.Intracomm | World,
    like: tuple[str, Space] | None = None,
    device: torch.device | str | None = None,
) -> Graph:
    """Read the mesh of a dataset, each rank its share, and deal it.

    Parameters
    ----------
    path : Path
        File, or folder of files on one mesh.
    mesh : OnMesh
        What it holds.
    grid : hpcml.core.case.Grid, optional
        Of the case, which is to have none.
    ranks : hpcml.core.case.Ranks
        How to deal nodes.
    comm : MPI.Intracomm or World
        All ranks.
    like : tuple of str and Space, optional
        Fingerprint and graph of a mesh that is dealt already, and given back if this is the same one.
    device : torch.device or str, optional
        Where to compute, in place of what the case says.

    Raises
    ------
    ConfigError, CheckpointError, ShapeError
        On every rank: the case describes a grid, or the mesh cannot be read.

    Communication
    -------------
    Collective over comm.
    """
    if grid is not None or ranks.domain != "auto":
        raise ConfigError(f"{path} lies on a mesh of {mesh.num_nodes} nodes: leave out the table [grid] and ranks.domain")
    device = device or case_device(ranks, comm.comm if isinstance(comm, World) else comm)
    with ExitStack() as held:
        decomposition = Decomposition.of(comm, ranks.data, device, ranks.same_bits)
        held.callback(decomposition.close)
        rows = mesh_rows(path, mesh, decomposition.comm)
        if like is not None and like[0] == mesh.fingerprint and isinstance(like[1], Graph):
            return like[1]
        graph = Graph.deal_within(decomposition, rows.points, rows.edges, ranks.partition)
        graph.schedule = schedule_of(ranks)
        held.pop_all()
    return graph


def mesh_rows(path: Path, mesh: OnMesh, comm: MPI.Intracomm) -> MeshRows:
    """Read this rank's share of the mesh of a file, or of the files of a folder, which is seen to be the same in all of them.

    Communication
    -------------
    Collective over comm.
    """
    with together(comm, f"looking for the mesh of {path}"):
        files = [] if comm.rank else files_of(path) if path.is_dir() else [path]
    for file in patient(comm).bcast(files):
        rows = read_rows(file, mesh, comm)
    return rows


def schedule_of(ranks: case.Ranks) -> Schedule:
    """When ghosts of a graph travel, as a case says it.

    Communication
    -------------
    Local.
    """
    kinds = {"synchronous": lambda: SYNCHRONOUS, "overlapped": Overlapped, "stale": lambda: Stale(ranks.smoothing)}
    return kinds[ranks.schedule]()
