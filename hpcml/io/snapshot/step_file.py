"""One file per step, written by all ranks together, where h5py was built with MPI."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
from mpi4py import MPI

from hpcml.io.dataset.stored_array import reserve
from hpcml.io.files.agree import together
from hpcml.io.files.memory_file import MemoryFile
from hpcml.io.snapshot.segment import Place, Segment
from hpcml.io.snapshot.series import FORMAT, FORMAT_VERSION, LIBVER, Series


class StepFiles:
    """Writes each step into a new file, which gets its name when it is whole; the arrays of a mesh into one before them.

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
    HDF5 offers no single-writer mode with MPI, and a file that is open when a rank dies is lost. So no file is open between steps. One rank
    makes it with room for everything, so that on a full disk no rank waits in HDF5 for another that has given up.
    """

    def __init__(self, folder: Path, session: str, comm: MPI.Intracomm, series: Series) -> None:
        self._folder, self._session, self._comm, self._series = folder, session, comm, series
        self._driver = {"driver": "mpio", "comm": comm} if h5py.get_config().mpi else {}
        self._transfer = h5py.h5p.create(h5py.h5p.DATASET_XFER)
        if self._driver:
            self._transfer.set_dxpl_mpio(h5py.h5fd.MPIO_COLLECTIVE)
        if arrays := series.geometry.arrays():
            self._write(mesh_name(session), {name: part for name, (_, part) in arrays.items()}, ())

    def write(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Write step number ``step`` of this session."""
        stored = self._series.geometry.stored
        blocks = {field.name: stored(values[field.name]).astype(field.dtype, copy=False)[None] for field in self._series.fields}
        self._write(step_name(self._session, step), blocks, (1,))

    def segments(self, first: int, count: int, places: Sequence[Mapping[str, Place]]) -> dict[str, list[Segment]]:
        """Where ``count`` steps from number ``first`` on are, and the geometry."""
        wholes, found = self._series.wholes(), {}
        for name in self._series.geometry.arrays():
            found[name] = [Segment(mesh_name(self._session), (0,) * len(wholes[name]), wholes[name])]
        for name in (field.name for field in self._series.fields):
            rest, shape = (0,) * len(wholes[name]), (1, *wholes[name])
            found[name] = [Segment(step_name(self._session, step), (first + step, *rest), shape) for step in range(count)]
        return found

    def close(self) -> None:
        """Nothing is open between steps."""

    def _write(self, name: str, blocks: Mapping[str, np.ndarray], steps: tuple[int, ...]) -> None:
        """Make a file of whole arrays from the blocks of all ranks; ``steps`` stands before the shape of each."""
        path, wholes, places = self._folder / name, self._series.wholes(), self._series.places()
        partial = path.with_suffix(".partial")
        with together(self._comm, f"making {path}"):
            if self._comm.rank == 0:
                _make(partial, {key: (steps + wholes[key], block.dtype) for key, block in blocks.items()})
        with h5py.File(partial, "r+", libver=LIBVER, **self._driver) as file:
            for key, block in blocks.items():
                dataset = file[key].id
                box = dataset.get_space()
                box.select_hyperslab((0,) * len(steps) + places[key][0], block.shape)
                # not file[key][...] = block, which leaves out ranks with an empty block while the others wait for them
                dataset.write(h5py.h5s.create_simple(block.shape), box, np.ascontiguousarray(block), dxpl=self._transfer)
        if self._comm.rank == 0:
            partial.replace(path)


def _make(path: Path, arrays: Mapping[str, tuple[tuple[int, ...], np.dtype]]) -> None:
    """A file with room for whole arrays, on one rank: on a disk that is full ranks would wait for each other in HDF5 for ever."""
    structure = MemoryFile()
    with h5py.File(structure, "w", libver=LIBVER) as file:
        file.attrs.update(format=f"{FORMAT}-part", format_version=FORMAT_VERSION)
        for name, (shape, dtype) in arrays.items():
            reserve(file, name, shape, dtype)
    structure.save(path)
    with path.open("r+b") as room:
        os.posix_fallocate(room.fileno(), 0, path.stat().st_size)


def step_name(session: str, step: int) -> str:
    """Name of the file of a step."""
    return f"{session}-step-{step:08d}.h5"


def mesh_name(session: str) -> str:
    """Name of the file of the arrays of a mesh."""
    return f"{session}-mesh.h5"
