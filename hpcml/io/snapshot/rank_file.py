"""The file of one rank: its block, step after step, readable whenever the rank dies."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from hpcml.io.snapshot.compression import Compression
from hpcml.io.snapshot.segment import Place, Segment
from hpcml.io.snapshot.series import FORMAT, FORMAT_VERSION, LIBVER, Series
from hpcml.io.snapshot.superblock import image, publish, trim

_MOST_CHUNK_BYTES = 256 << 20
_ROOM_BYTES = 1 << 18  # for what HDF5 writes beside the values; its index grows by blocks of at most some ten kilobytes


class RankFile:
    """Appends steps of this rank's block.

    Parameters
    ----------
    folder : pathlib.Path
        Where the file is made.
    session : str
        Names the files of one start of a run.
    rank : int
        This rank.
    series : Series
        What is written, and where this rank's block lies.
    compression : Compression, optional
        Of every field.

    Raises
    ------
    OSError, RuntimeError
        From HDF5, where the file cannot be made or written.

    Notes
    -----
    HDF5's single-writer mode orders writes such that the file is consistent at any time, and needs everything but the rows to exist when it
    begins. Chunks carry HDF5's checksum, so that a reader notices a flipped bit. Nothing is cached: a step costs no memory beyond one copy.
    HDF5 crashes where it cannot write what it has taken, so the disk is asked for room before each step; `close` gives back what is left.
    """

    def __init__(self, folder: Path, session: str, rank: int, series: Series, compression: Compression | None = None) -> None:
        path = folder / rank_name(session, rank)
        self._session, self._geometry, self._compression = session, series.geometry, compression
        self._fields = {field.name: np.dtype(field.dtype) for field in series.fields}
        self._bytes = sum(math.prod(series.places()[name][1]) * dtype.itemsize for name, dtype in self._fields.items())
        path.write_bytes(_first_image(series, compression))
        self._descriptor = os.open(path, os.O_RDWR)
        try:
            self._file = h5py.File(path, "r+", libver=LIBVER, locking=False)
            self._file.swmr_mode = True  # before: in HDF5 1.10 it gives open datasets a cache again
            self._datasets = {name: _uncached(self._file, name) for name in self._fields if name in self._file}
            publish(self._descriptor)
        except BaseException:
            os.close(self._descriptor)
            raise

    def write(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Write step number ``step`` of this file; when this returns it survives the death of the process.

        Parameters
        ----------
        step : int
            At most the number of steps written so far; a step that is there already is replaced.
        values : mapping of str to numpy.ndarray
            (*leading, *block in the order of memory) of every field.

        Communication
        -------------
        Local.
        """
        end = self._file.id.get_filesize() + self._bytes + _ROOM_BYTES
        if os.fstat(self._descriptor).st_size < end:
            os.posix_fallocate(self._descriptor, 0, end)
        for name, dataset in self._datasets.items():
            block = self._geometry.stored(values[name]).astype(dataset.dtype, order="C", copy=False)
            dataset.resize(step + 1, 0)
            dataset[step] = block
            dataset.flush()
            if self._compression:
                self._compression.check(block, dataset[step], name)
        publish(self._descriptor)

    def segments(self, first: int, count: int, places: Sequence[Mapping[str, Place]]) -> dict[str, list[Segment]]:
        """Where ``count`` steps from number ``first`` on are, and the geometry, given the blocks of each rank."""
        found: dict[str, list[Segment]] = {}
        for rank, blocks in enumerate(places):
            for name, (offset, shape) in blocks.items():
                if math.prod(shape):
                    box = ((first, *offset), (count, *shape)) if name in self._fields else (offset, shape)
                    found.setdefault(name, []).append(Segment(rank_name(self._session, rank), *box))
        return found

    def close(self) -> None:
        try:
            self._file.close()
            trim(self._descriptor)
            os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)


def rank_name(session: str, rank: int) -> str:
    """Name of the file of a rank."""
    return f"{session}-{rank:05d}.h5"


def _first_image(series: Series, compression: Compression | None) -> bytes:
    """A file without steps, made in memory: a disk that is full then says so to us and not to HDF5. Empty blocks are left out."""
    blocks, packed = series.places(), compression.options() if compression else {}
    with h5py.File("first", "w", driver="core", backing_store=False, libver=LIBVER) as file:
        file.attrs.update(format=f"{FORMAT}-part", format_version=FORMAT_VERSION)
        for field in series.fields:
            offset, shape = blocks[field.name]
            if math.prod(shape):
                chunks = _chunks((1,) * (1 + len(field.leading)) + shape[len(field.leading) :], np.dtype(field.dtype).itemsize)
                stored = dict(maxshape=(None, *shape), chunks=chunks, fletcher32=True, **packed)
                file.create_dataset(field.name, (0, *shape), field.dtype, **stored).attrs["offset"] = offset
        for name, (location, part) in series.geometry.arrays().items():
            if part.size:
                stored = dict(chunks=_chunks(part.shape, part.itemsize), fletcher32=True)
                file.create_dataset(name, data=part, **stored).attrs["offset"] = location.offset
        return image(file)


def _uncached(file: h5py.File, name: str) -> h5py.Dataset:
    """A dataset whose chunks go to the file at once: what is read back is then what a reader gets."""
    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    access.set_chunk_cache(0, 0, 0.0)
    return h5py.Dataset(h5py.h5d.open(file.id, name.encode(), access))


def _chunks(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """One block per chunk, cut along its slowest dims where it is larger than HDF5 handles well."""
    sizes = list(shape)
    for dim in range(len(sizes)):
        while sizes[dim] > 1 and math.prod(sizes) * itemsize > _MOST_CHUNK_BYTES:
            sizes[dim] = -(-sizes[dim] // 2)
    return tuple(sizes)
