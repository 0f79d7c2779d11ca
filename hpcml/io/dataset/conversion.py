"""From one layout to another."""

import os
from pathlib import Path

import numpy as np
from mpi4py import MPI

from hpcml.core.errors import ConfigError
from hpcml.io.dataset import pdebench, pdebench_groups, the_well
from hpcml.io.dataset.create import create_dataset
from hpcml.io.dataset.dataset import Dataset, open_dataset
from hpcml.io.dataset.description import Description
from hpcml.mpi.agreement import raise_together
from hpcml.topology.block import block_range

FAMILIES = (the_well.NAME, pdebench.NAME)
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
    suffixes = {
        the_well.NAME: {".hdf5": the_well.NAME, ".h5": the_well.NAME},
        pdebench.NAME: {".hdf5": pdebench.NAME, ".h5": pdebench_groups.NAME},
    }
    if family not in suffixes:
        raise ConfigError(f"there is no layout {family!r}: expected {' or '.join(FAMILIES)}")
    suffix = Path(path).suffix
    if suffix not in suffixes[family]:
        raise ConfigError(f"a dataset's name ends in .hdf5 or .h5 (PDEBench: arrays or groups), got {path}")
    return suffixes[family][suffix]


def convert(
    source: str | os.PathLike[str], target: str | os.PathLike[str], family: str, comm: MPI.Intracomm = MPI.COMM_SELF
) -> Description:
    """Write a dataset in another layout.

    Parameters
    ----------
    source : str or path
        File or folder of any layout known.
    target : str or path
        File to be made; it appears under this name when it is complete.
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
        On every rank; nothing is left under the name ``target``.

    Communication
    -------------
    Collective over comm, once at the beginning and at the end; each rank reads and writes its own trajectories.
    """
    layout, target = layout_of(family, target), Path(target)
    partial = target.with_name(target.name + ".partial")
    with open_dataset(source, comm) as old:
        with raise_together(comm):
            if comm.rank == 0:
                if target.exists():
                    raise ConfigError(f"{target} exists already: remove it, or choose another name")
                partial.unlink(missing_ok=True)
        with create_dataset(partial, layout, old.description, comm) as new, raise_together(comm):
            share = block_range(old.description.num_trajectories, comm.size, comm.rank)
            for trajectory in range(share.start, share.stop):
                _copy(old, new, trajectory)
            new.sync()
    if comm.rank == 0:
        partial.replace(target)
    comm.Barrier()
    return old.description


def _copy(old: Dataset, new: Dataset, trajectory: int) -> None:
    space = old.description
    one = len(space.channels) * int(np.prod(space.grid_shape)) * 8
    step = max(1, _PIECE_BYTES // one)
    for first in range(0, space.num_times, step):
        times = range(first, min(first + step, space.num_times))
        new.write(trajectory, first, old.read(trajectory, times))
