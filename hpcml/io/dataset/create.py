"""New dataset files, for values that ranks then write."""

import os
from pathlib import Path

from mpi4py import MPI

from hpcml.core.errors import ConfigError, HpcmlError
from hpcml.io.dataset.dataset import Dataset, open_dataset
from hpcml.io.dataset.description import Description
from hpcml.io.dataset.layouts import create_file
from hpcml.io.dataset.mesh_rows import MeshRows, check_mesh, write_rows
from hpcml.io.files.agree import together
from hpcml.mpi.call import named_call


@named_call
def create_dataset(
    path: str | os.PathLike[str],
    layout: str,
    description: Description,
    comm: MPI.Intracomm = MPI.COMM_SELF,
    *,
    mesh: MeshRows | None = None,
) -> Dataset:
    """Make a file for values that ranks then write, each its own part.

    Parameters
    ----------
    path : str or path
        File that does not exist yet.
    layout : str
        ``the-well``, ``pdebench``, ``pdebench-groups`` or ``mesh``.
    description : Description
        Index space.
    comm : MPI.Intracomm
        All ranks that write.
    mesh : MeshRows, optional
        For the layout ``mesh``, this rank's rows of the mesh; its method ``describe`` gives the description.

    Returns
    -------
    Dataset
        Open for writing; values are float32 in the file, and zero until they are written.

    Raises
    ------
    ConfigError, CheckpointError, ShapeError
        On every rank: the layout cannot hold such fields, the file exists, or it cannot be made; the layout ``mesh`` without a mesh, or
        with another than the description is of. No new file is there then.

    Communication
    -------------
    Collective over comm; rank 0 makes the file.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from hpcml.io.dataset import Field
    >>> space = Description("demo", (Field("u"),), 2, (0.0, 0.1), ((0.25, 0.75),), (True,))
    >>> with create_dataset(tempfile.mkdtemp() + "/demo.hdf5", "the-well", space) as dataset:
    ...     dataset.write(0, 0, np.ones((2, 1, 2)))
    ...     float(dataset.read(0).sum())
    4.0
    """
    check_mesh(layout, mesh, comm)
    with together(comm, f"making the dataset {path}"):
        if comm.rank == 0:
            if Path(path).exists():
                raise ConfigError(f"{path} exists already: remove it, or choose another name")
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            create_file(Path(path), layout, description)
    if mesh is not None:
        try:
            write_rows(Path(path), mesh, comm)
        except HpcmlError:
            if comm.rank == 0:
                Path(path).unlink(missing_ok=True)
            raise
    return open_dataset(path, comm, writable=True)
