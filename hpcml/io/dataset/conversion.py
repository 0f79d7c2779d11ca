"""From one layout to another."""

import os
from pathlib import Path

import numpy as np
from mpi4py import MPI

from hpcml.core.errors import ConfigError
from hpcml.io.dataset import pdebench, pdebench_groups, the_well
from hpcml.io.dataset.dataset import Dataset, open_dataset
from hpcml.io.dataset.description import Description
from hpcml.io.dataset.growing import GrowingDataset
from hpcml.io.dataset.layouts import files_of
from hpcml.io.files.agree import together
from hpcml.mpi.agreement import raise_together
from hpcml.mpi.call import named_call
from hpcml.mpi.patience import lenient
from hpcml.mpi.patient_comm import patient
from hpcml.topology.block import block_range

_WELL, _ARRAYS, _GROUPS = the_well.LAYOUT.name, pdebench.LAYOUT.name, pdebench_groups.LAYOUT.name
_PIECE_BYTES = 64 << 20


def layout_of(family: str, path: str | os.PathLike[str]) -> str:
    """Layout of a family that a file's name asks for: PDEBench has groups in ``*.h5`` and arrays in ``*.hdf5``.

    Raises
    ------
    ConfigError
        For another suffix, or another family.

    Communication
    -------------
    Local.
    """
    suffixes = {_WELL: {".hdf5": _WELL, ".h5": _WELL}, _ARRAYS: {".hdf5": _ARRAYS, ".h5": _GROUPS}}
    if family not in suffixes:
        raise ConfigError(f"there is no layout {family!r}: expected {' or '.join(suffixes)}")
    suffix = Path(path).suffix.lower()
    if suffix not in suffixes[family]:
        raise ConfigError(f"a dataset's name ends in .hdf5 or .h5 (PDEBench: arrays or groups), got {path}")
    return suffixes[family][suffix]


@named_call
def convert(
    source: str | os.PathLike[str], target: str | os.PathLike[str], family: str, comm: MPI.Intracomm = MPI.COMM_SELF
) -> Description:
    """Write a dataset in another layout; called again after an interruption, go on with the trajectories that are missing.

    Parameters
    ----------
    source : str or path
        File or folder of any layout known.
    target : str or path
        File to be made; it appears under this name when it is complete. Until then ``NAME.unfinished/`` holds what is done.
    family : str
        ``the-well``, or ``pdebench``: arrays if the name ends in ``.hdf5``, groups for ``.h5``.
    comm : MPI.Intracomm
        Ranks that share the work, trajectory by trajectory.

    Returns
    -------
    Description
        What was written.

    Raises
    ------
    ConfigError, CheckpointError
        On every rank; nothing is left under the name ``target``. Among them: it exists already, or the unfinished work is of a source that
        has changed since.

    Communication
    -------------
    Collective over comm, once at the beginning and at the end; each rank reads and writes its own trajectories.
    """
    layout, target = layout_of(family, target), Path(target)
    comm = patient(comm)
    with open_dataset(source, comm) as old:
        old.description.check_filled()
        with together(comm, f"looking at {source}"):
            origin = _stamps(Path(source)) if comm.rank == 0 else None
        origin = comm.bcast(origin)
        work = target.with_name(target.name + ".unfinished")
        with GrowingDataset(target, old.description, f"{layout} from {origin}", comm, layout, work) as new, lenient(), raise_together(comm):
            share = block_range(len(new.missing), comm.size, comm.rank)
            for trajectory in new.missing[share.start : share.stop]:
                _copy(old, new, trajectory)
                new.finish(trajectory, MPI.COMM_SELF)
    return old.description


def _stamps(source: Path) -> list[tuple[str, int, int]]:
    """What tells whether a file, or the files of a folder, are still the same: names, sizes, times of the last change."""
    files = files_of(source) if source.is_dir() else [source]
    return [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def _copy(old: Dataset, new: GrowingDataset, trajectory: int) -> None:
    space = old.description
    one = len(space.channels) * int(np.prod(space.grid_shape)) * 8
    step = max(1, _PIECE_BYTES // one)
    for first in range(0, space.num_times, step):
        times = range(first, min(first + step, space.num_times))
        new.write(trajectory, first, old.read(trajectory, times))
