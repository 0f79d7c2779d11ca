"""Stored pairs on one grid or mesh, or on as many meshes as a folder has."""

from pathlib import Path
from typing import Any

import torch
from mpi4py import MPI

from hpcml.core import case
from hpcml.core.errors import HpcmlError
from hpcml.data.samples import Samples
from hpcml.data.several import Several
from hpcml.data.stored_pairs import StoredPairs, open_pairs
from hpcml.io.dataset.dataset import described
from hpcml.io.dataset.layouts import files_of
from hpcml.io.dataset.on_mesh import OnMesh
from hpcml.io.files.agree import together
from hpcml.mpi.patient_comm import patient
from hpcml.parallel.decomposition import Decomposition


def open_samples(
    path: str,
    spec: case.Dataset,
    grid: case.Grid | None,
    ranks: case.Ranks,
    comm: MPI.Intracomm,
    dtype: torch.dtype,
    steps: int = 1,
) -> Samples:
    """Open a dataset to learn from, see `hpcml.data.stored_pairs.open_pairs`; files of a folder may lie on different meshes.

    Returns
    -------
    StoredPairs or Several
        The latter where meshes differ: each is dealt to the ranks of a group, and groups take different samples.

    Raises
    ------
    CheckpointError, ConfigError, TopologyError
        On every rank.

    Communication
    -------------
    Collective over comm.
    """
    files = files_by_mesh(path, comm)
    if not files:
        return open_pairs(path, spec, grid, ranks, comm, dtype, steps=steps)
    shared = Decomposition.of(comm, ranks.data)
    alone, parts = ranks.model_copy(update={"data": 1}), list[StoredPairs]()
    for file in files:
        like = parts[0].meaning if parts else None
        parts.append(open_pairs(file, spec, grid, alone, shared.comm, dtype, like, steps, parts))
    return Several(parts, comm, shared)


def files_by_mesh(path: str, comm: MPI.Intracomm) -> list[str]:
    """Files of a folder whose meshes differ, in the order of their names; none for anything else.

    Communication
    -------------
    Collective over comm: an agreement and one broadcast.
    """
    found: list[str] = []
    with together(comm, f"looking for datasets in {path}"):
        if comm.rank == 0 and Path(path).is_dir():
            files = files_of(Path(path))
            meshes = {_mesh(file) for file in files}
            found = [str(file) for file in files] if len(meshes) > 1 and "" not in meshes else []
    files_found: Any = patient(comm).bcast(found)
    return list(files_found)


def _mesh(file: Path) -> str:
    """Fingerprint of the mesh of a file; what is wrong with it is told by who opens it."""
    try:
        space = described(file)[1]
    except HpcmlError:
        return ""
    return space.fingerprint if isinstance(space, OnMesh) else ""
