"""One rank's share of a checkpoint: a complete HDF5 file in memory, into which every save copies in place.

    /structure  JSON: the shape of the state and what each array is            the same from save to save
    /pieces     JSON: [entry, offset, shape] of each dataset under /state
    /values     JSON, padded: step, plain values of the state, counts of rows  written by every save
    /state/...  one dataset per array that this rank writes a piece of

The file is laid out once, contiguous and aligned. A save then only copies bytes to known places, a background process writes the memory to
disk as it is, and what a crashed rank leaves in memory is read by the same code as what is on disk.
"""

import json
import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import h5py
import numpy as np

from hpcml.io.checkpoint.state.dtypes import as_tensor, storage_dtype
from hpcml.io.checkpoint.state.placement import content
from hpcml.io.checkpoint.state.plan import ArraySpec, Piece
from hpcml.io.checkpoint.state.streaming_copy import copy_all, streaming_function
from hpcml.io.files.memory_file import MemoryFile

FORMAT_VERSION = 1
_PAGE = 4096  # length of the file is a multiple of it, so that it can be written past the page cache
_CACHE_LINE = 64  # alignment of every dataset, for the copy
_MIN_VALUES_BYTES = 4096


class Image:
    """An HDF5 file in anonymous shared memory, with a window onto each of its datasets.

    Parameters
    ----------
    structure : dict
        JSON document with the structure of the state and its arrays.
    specs : sequence of ArraySpec
        The arrays.
    pieces : sequence of Piece
        What this rank writes of them.
    values_bytes : int
        Room that the values need now; twice as much is kept.

    Communication
    -------------
    Local.

    Notes
    -----
    The memory belongs to its file descriptor `fd`: it is gone when the last process that has it open ends, whatever ends it.
    """

    def __init__(self, structure: dict[str, Any], specs: Sequence[ArraySpec], pieces: Sequence[Piece], values_bytes: int) -> None:
        self.values_capacity = max(_MIN_VALUES_BYTES, 2 * values_bytes)
        self.fd = os.memfd_create("hpcml-checkpoint")
        skeleton = MemoryFile()
        places = _lay_out(skeleton, structure, specs, pieces, self.values_capacity)
        skeleton.write_to(self.fd)
        self.nbytes = -(-os.fstat(self.fd).st_size // _PAGE) * _PAGE
        os.ftruncate(self.fd, self.nbytes)
        self.memory = mmap.mmap(self.fd, self.nbytes, flags=mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0))
        self._unpin: Callable[[], None] = lambda: None
        self._values_place = places.pop()
        streaming_function()  # compiled here, not while training waits
        self._targets = [
            (piece, as_target(np.ndarray(piece.box.shape, storage_dtype(specs[piece.entry].dtype), self.memory, place), specs[piece.entry]))
            for piece, place in zip(pieces, places, strict=True)
            if piece.box.volume
        ]

    def fill(self, values: bytes, leaves: Sequence[Any], origins: Sequence[tuple[int, ...] | None]) -> None:
        """Copy the state in: the one thing that training waits for.

        Parameters
        ----------
        values : bytes
            The JSON document of the values.
        leaves : sequence
            The arrays of the state on this rank.
        origins : sequence of tuple of int or None
            Global index of each leaf's first cell; None for one that starts at 0.
        """
        place = self._values_place
        self.memory[place : place + self.values_capacity] = values.ljust(self.values_capacity)
        copy_all(self._pairs(leaves, origins))

    def _pairs(self, leaves: Sequence[Any], origins: Sequence[tuple[int, ...] | None]) -> Iterator[tuple[Any, Any]]:
        for piece, target in self._targets:
            source = content(leaves[piece.entry])
            if not isinstance(source, np.ndarray):
                source = source.detach()
            if source.shape and source.shape[0] < piece.box.shape[0]:  # Rows: there is room for more
                yield target[: source.shape[0]], source
            else:
                yield target, source[piece.box.slices(origins[piece.entry] or (0,) * len(piece.box.shape))]

    def pin(self) -> None:
        """Lock the memory for copies from a GPU, which the fill then need not wait for one by one."""
        from hpcml.mpi.host_copy import pin  # torch, which whoever holds such arrays has imported

        self._unpin = pin(self.memory)

    def close(self) -> None:
        """Give the memory back, unless another process still has it."""
        self._unpin()
        self._targets.clear()
        with suppress(BufferError):  # a view of it is still referenced: the mapping ends with the view
            self.memory.close()
        os.close(self.fd)


def as_target(stored: np.ndarray, spec: ArraySpec) -> Any:
    """The window through which a piece is written or read, of the library that the array belongs to."""
    return as_tensor(stored, spec.dtype) if spec.library == "torch" else stored


def to_json(document: Any) -> bytes:
    """A document as it stands in the file."""
    return json.dumps(document, separators=(",", ":")).encode()


def _lay_out(
    skeleton: MemoryFile, structure: dict[str, Any], specs: Sequence[ArraySpec], pieces: Sequence[Piece], values_capacity: int
) -> list[int]:
    """Write the file's skeleton; return where the bytes of each piece begin, and last those of the values."""
    contiguous = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    contiguous.set_layout(h5py.h5d.CONTIGUOUS)
    contiguous.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    contiguous.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    parents = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    parents.set_create_intermediate_group(True)
    with h5py.File(skeleton, "w", alignment_threshold=1, alignment_interval=_CACHE_LINE) as file:
        file.attrs["format"] = "hpcml-checkpoint"
        file.attrs["format_version"] = FORMAT_VERSION
        table = [[piece.entry, piece.box.offset, piece.box.shape] for piece in pieces]
        for name, document in (("structure", structure), ("pieces", table)):
            file.create_dataset(name, data=np.frombuffer(to_json(document), np.uint8))
        places = []
        for piece in pieces:
            spec = specs[piece.entry]
            kind = h5py.h5t.py_create(storage_dtype(spec.dtype), logical=True)
            space = h5py.h5s.create_simple(piece.box.shape) if piece.box.shape else h5py.h5s.create(h5py.h5s.SCALAR)
            dataset = h5py.h5d.create(file.id, dataset_name(spec).encode(), kind, space, contiguous, parents)
            places.append(dataset.get_offset())
        space = h5py.h5s.create_simple((values_capacity,))
        places.append(h5py.h5d.create(file.id, b"values", h5py.h5t.STD_U8LE, space, contiguous, parents).get_offset())
    return places


def dataset_name(spec: ArraySpec) -> str:
    """Where an array lies in every file of a checkpoint."""
    return f"state/{spec.name}"
