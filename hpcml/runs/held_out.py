"""Files of pairs that measure a model, opened as what the model has learned from."""

from collections.abc import Sequence

from mpi4py import MPI

from hpcml.core.case import Case, Dataset, Ranks, Tensors
from hpcml.data.samples import Samples
from hpcml.data.several_meshes import files_by_mesh
from hpcml.data.stored_pairs import open_pairs
from hpcml.data.tensor_files import read_pairs
from hpcml.io.dataset import Meaning
from hpcml.runs.dtype_of import dtype_of


def open_held_out(
    case: Case, paths: Sequence[str], like: Meaning | None, ranks: Ranks, comm: MPI.Intracomm, beside: Sequence[Samples] = ()
) -> dict[str, Samples]:
    """Open files or folders whose pairs mean what those of training mean, at any resolution.

    Parameters
    ----------
    case : Case
        Its table ``[data]`` says whether these are files of tensors or datasets; what was simulated is compared with datasets.
    paths : sequence of str
        The files.
    like : Meaning or None
        What the training data mean; None for a model that says nothing of them, so that nothing can be compared.
    ranks : Ranks
        Process grid, for each file's own cells.
    comm : MPI.Intracomm
        All ranks.
    beside : sequence of Samples
        Those of training, whose graphs are shared by what lies on the same meshes.

    Returns
    -------
    dict of str to Samples
        By path; by file, where those of a folder lie on different meshes.

    Raises
    ------
    ConfigError, CheckpointError, TopologyError, TrainingError
        On every rank: a file that cannot be read or means something else, told before anything is computed.

    Communication
    -------------
    Collective over comm.
    """
    data, dtype = case.data, dtype_of(case)
    if isinstance(data, Tensors):
        return {path: read_pairs(path, data, case.grid, ranks, comm, dtype, like) for path in paths}
    spec = data if isinstance(data, Dataset) else Dataset(kind="dataset", path="")
    found: dict[str, Samples] = {}
    for path in (file for name in paths for file in files_by_mesh(name, comm) or [name]):
        found[path] = open_pairs(path, spec, case.grid, ranks, comm, dtype, like, beside=[*beside, *found.values()])
    return found
