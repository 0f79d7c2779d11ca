"""An open dataset: any box of its index space, read or written by any rank."""

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from mpi4py import MPI

from hpcml.core.errors import CheckpointError, HpcmlError, ShapeError
from hpcml.io.dataset.description import Description
from hpcml.io.dataset.layouts import describe_path
from hpcml.io.dataset.storage import Storage
from hpcml.io.dataset.variable import Variable
from hpcml.io.files.remedy import reason
from hpcml.mpi.agreement import agree_on_error
from hpcml.mpi.call import named_call
from hpcml.mpi.patient_comm import patient
from hpcml.topology.block import BlockRange


class Dataset:
    """Trajectories of fields on a grid, in one file or many, made by `open_dataset`.

    Attributes
    ----------
    description : Description
        The index space: trajectories, times, fields, grid.
    layout : str
        Of the files: ``the-well``, ``pdebench`` (one array per field), ``pdebench-groups`` (one group per trajectory) or ``mesh``.

    Notes
    -----
    A context manager; `close` closes the files. Reads may come from several threads, one at a time.
    """

    def __init__(self, layout: str, description: Description, variables: tuple[Variable, ...], writable: bool = False) -> None:
        self.layout = layout
        self.description = description
        self._variables = variables
        self._storage = Storage(writable)

    @property
    def bytes_read(self) -> int:
        """Bytes of values that this rank has read from the files; chunked arrays count every chunk that was touched, as stored."""
        return self._storage.bytes_read

    @property
    def num_bytes(self) -> int:
        """Bytes of all values, uncompressed."""
        return sum(array.num_bytes for variable in self._variables for array in variable.arrays)

    def read(
        self, trajectory: int, times: range | None = None, block: Sequence[BlockRange] | None = None, channels: Sequence[int] | None = None
    ) -> np.ndarray:
        """Values of a trajectory.

        Parameters
        ----------
        trajectory : int
            Its number.
        times : range, optional
            Numbers of the times, default all.
        block : sequence of BlockRange, optional
            Cells along each dim, such as ``domain.block``; default all.
        channels : sequence of int, optional
            Numbers of the channels (see `Description.channels_of`), default all; variables of no such channel are not read.

        Returns
        -------
        numpy.ndarray
            float32 or float64 as stored, (time, channel, *block).

        Raises
        ------
        ShapeError
            For indices outside the dataset.
        CheckpointError
            If the file cannot be read.

        Communication
        -------------
        Local: the bytes of the box are read and no others, except that chunked arrays are read in whole chunks.
        """
        times, block = self._checked(trajectory, times, block)
        channels = range(len(self.description.channels)) if channels is None else channels
        wanted = [v for v in self._variables if any(v.first <= c < v.first + v.count for c in channels)]
        kind = np.result_type(np.float32, *(a.dtype for v in wanted for a in v.arrays[:1]))
        values = np.empty((len(times), len(channels), *(r.size for r in block)), kind)
        for variable in wanted:
            places = [
                (place, c - variable.first) for place, c in enumerate(channels) if variable.first <= c < variable.first + variable.count
            ]
            for first, part in _stretches(times):
                found = variable.read(self._storage, trajectory, part, block)
                for place, component in places:
                    values[first : first + part.size, place] = found[:, component]
        return values

    def write(self, trajectory: int, first_time: int, values: np.ndarray, block: Sequence[BlockRange] | None = None) -> None:
        """Put values (time, channel, *block) of all channels into a file that was opened for writing.

        Raises
        ------
        ShapeError
            If they do not fit.
        CheckpointError
            If the file cannot be written.

        Communication
        -------------
        Local; ranks may write disjoint boxes at the same time.
        """
        times, block = self._checked(trajectory, range(first_time, first_time + len(values)), block)
        expected = (len(times), len(self.description.channels), *(r.size for r in block))
        if values.shape != expected:
            raise ShapeError(
                f"a dataset of channels {', '.join(self.description.channels)} expected values of {expected}, got {values.shape}"
            )
        for variable in self._variables:
            if variable.has_time or first_time == 0:
                part = values[:, variable.first : variable.first + variable.count]
                variable.write(self._storage, trajectory, BlockRange(times.start, times.stop), block, part)

    def sync(self) -> None:
        """Force to the disk what this rank has written."""
        self._storage.sync()

    def close(self) -> None:
        """Close the files."""
        self._storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _checked(self, trajectory: int, times: range | None, block: Sequence[BlockRange] | None) -> tuple[range, Sequence[BlockRange]]:
        space = self.description
        times = range(space.num_times) if times is None else times
        block = [BlockRange(0, n) for n in space.grid_shape] if block is None else block
        inside = [
            0 <= trajectory < space.num_trajectories,
            all(0 <= t < space.num_times for t in times),
            len(block) == len(space.grid_shape) and all(0 <= r.start <= r.stop <= n for r, n in zip(block, space.grid_shape, strict=True)),
        ]
        if not all(inside):
            raise ShapeError(
                f"trajectory {trajectory}, {times}, cells {[(r.start, r.stop) for r in block]} are not inside the dataset {space.name} "
                f"of {space.num_trajectories} trajectories, {space.num_times} times and {space.grid_shape} cells"
            )
        return times, block


def described(path: Path) -> tuple[str, Description, tuple[Variable, ...]]:
    """What `describe_path` finds, or one error of hpcml for whatever a damaged or foreign file makes its reader raise.

    Raises
    ------
    CheckpointError
        That names the file.

    Communication
    -------------
    Local.
    """
    try:
        return describe_path(path)
    except HpcmlError:
        raise
    except Exception as caught:  # which it is is up to h5py
        raise CheckpointError(f"cannot read the dataset {path}: {reason(caught)}{_remedy(str(caught))}") from caught


@named_call
def open_dataset(path: str | os.PathLike[str], comm: MPI.Intracomm = MPI.COMM_SELF, *, writable: bool = False) -> Dataset:
    """Open a file of The Well's or one of PDEBench's layouts, or a folder of such files, which then follow one another by name.

    Parameters
    ----------
    path : str or path
        File or folder.
    comm : MPI.Intracomm
        All ranks that want it; one of them reads the structure.
    writable : bool
        Whether values may be written.

    Returns
    -------
    Dataset
        On every rank.

    Raises
    ------
    CheckpointError
        On every rank: no such file, a damaged or unfinished one, a layout that is not known, a newer version of it.

    Communication
    -------------
    Collective over comm: one broadcast; later reads are local.
    """
    found: tuple[str, Description, tuple[Variable, ...]] | None = None
    error: Exception | None = None
    if comm.rank == 0:
        try:
            found = described(Path(path))
        except HpcmlError as caught:
            error = caught
    agree_on_error(error, comm)
    comm = patient(comm)
    layout, description, variables = comm.bcast(found)
    return Dataset(layout, description, variables, writable)


def _stretches(times: range) -> list[tuple[int, BlockRange]]:
    """Times as stretches of consecutive ones, each with its place."""
    if times.step == 1:
        return [(0, BlockRange(times.start, times.stop))] if len(times) else []
    return [(place, BlockRange(t, t + 1)) for place, t in enumerate(times)]


def _remedy(text: str) -> str:
    """What to do about an error of the HDF5 library, whose words are all there is to tell it by."""
    if "open for write" in text or "consistency flags" in text:
        return "; another program has it open for writing, or died at that: close it there, or clear the mark with `h5clear -s`"
    if "truncated" in text:
        return "; it was cut off, or is still being written: copy it again, or wait"
    if "signature" in text:
        return "; it is no HDF5 file: name one of The Well's or PDEBench's layout"
    return ""
