"""One file per step, written by all ranks together, where h5py was built with MPI."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
from mpi4py import MPI

from hpcml.io.snapshot.segment import Place, Segment
from hpcml.io.snapshot.series import FORMAT, FORMAT_VERSION, LIBVER, Series


class StepFiles:
    """Writes each step into a new file, which gets its name when it is whole.

    Parameters
    ----------
    folder : pathlib.Path
        Where the files are made.
    session : str
        Names the files of one start of a run.
    comm : mpi4py.MPI.Intracomm
        The ranks.
    series : Series
        What is written, and where this rank's block lies.

    Communication
    -------------
    Writing is collective over comm, through MPI-IO; on one rank it is local and needs no MPI in h5py.

    Notes
    -----
    HDF5 offers no single-writer mode with MPI, and a file that is open when a rank dies is lost. So no file is open between steps.
    """

    def __init__(self, folder: Path, session: str, comm: MPI.Intracomm, series: Series) -> None:
        self._folder, self._session, self._comm, self._series = folder, session, comm, series
        self._driver = {"driver": "mpio", "comm": comm} if h5py.get_config().mpi else {}

    def write(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Write step number ``step`` of this session."""
        geometry = self._series.geometry
        path = self._folder / step_name(self._session, step)
        partial = path.with_suffix(".partial")
        box = tuple(slice(start, start + size) for start, size in zip(geometry.offset, geometry.local_shape, strict=True))
        with h5py.File(partial, "w", libver=LIBVER, **self._driver) as file:
            file.attrs.update(format=f"{FORMAT}-part", format_version=FORMAT_VERSION, offset=(0,) * len(geometry.shape))
            for field in self._series.fields:
                shape = (1, *(size for _, size in field.leading), *geometry.shape)
                dataset = file.create_dataset(field.name, shape, field.dtype)
                block = geometry.stored(values[field.name]).astype(dataset.dtype, order="C", copy=False)
                if self._driver:
                    with dataset.collective:
                        dataset[(0, ..., *box)] = block
                else:
                    dataset[(0, ..., *box)] = block
        if self._comm.rank == 0:
            partial.replace(path)

    def segments(self, count: int, places: Sequence[Place]) -> list[Segment]:
        """Where the first ``count`` steps are."""
        shape = self._series.geometry.shape
        return [Segment(step_name(self._session, step), step, 1, (0,) * len(shape), shape) for step in range(count)]

    def close(self) -> None:
        """Nothing is open between steps."""


def step_name(session: str, step: int) -> str:
    """Name of the file of a step."""
    return f"{session}-step-{step:08d}.h5"
