"""Open files of a dataset, and the bytes that went through them."""

import itertools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from hpcml.core.errors import CheckpointError
from hpcml.io.dataset.filters import load_filters
from hpcml.io.dataset.runs import runs
from hpcml.io.dataset.stored_array import StoredArray
from hpcml.io.files.confined_file import ConfinedFile
from hpcml.io.files.remedy import reason
from hpcml.topology.block import BlockRange


class Storage:
    """Reads and writes boxes of arrays; closed by `close`.

    Parameters
    ----------
    writable : bool
        Whether boxes may be written.

    Attributes
    ----------
    bytes_read : int
        Of array elements, by this rank: exact for arrays that lie in one piece; for chunked ones the stored size of every chunk touched.

    Notes
    -----
    File reads and writes release Python's global lock.
    """

    def __init__(self, writable: bool = False) -> None:
        self.bytes_read = 0
        self._flags = os.O_RDWR if writable else os.O_RDONLY
        self._descriptors: dict[str, int] = {}
        self._files: dict[str, ConfinedFile] = {}

    def __reduce__(self) -> tuple[type["Storage"], tuple[bool]]:
        """A copy in another process opens the files itself: there the numbers of descriptors are those of other files."""
        return Storage, (self._flags == os.O_RDWR,)

    def read(self, array: StoredArray, box: Sequence[BlockRange]) -> np.ndarray:
        """Elements of a box, in this machine's byte order.

        Raises
        ------
        CheckpointError
            If the file cannot be read, or ends before the box does.

        Communication
        -------------
        Local.
        """
        box, order = _in_file(array, box)
        try:
            values = (self._read_chunks(array, box) if array.offset is None else self._read_runs(array, box))[order]
        except OSError as error:
            raise CheckpointError(f"cannot read {array.name} of {array.path}: {reason(error)}") from None
        return values.astype(values.dtype.newbyteorder("="), copy=False)

    def write(self, array: StoredArray, box: Sequence[BlockRange], values: np.ndarray) -> None:
        """Put elements of a box where they belong.

        Raises
        ------
        CheckpointError
            If the file cannot be written, because the disk is full for example, or has no room for numbers as large.

        Communication
        -------------
        Local; ranks may write disjoint boxes of one file at the same time.
        """
        assert array.offset is not None
        box, order = _in_file(array, box)
        memory = _narrowed(array, values.reshape([r.size for r in box])[order]).reshape(-1).view(np.uint8).data
        item = np.dtype(array.dtype).itemsize
        starts, length = runs(array.shape, box)
        try:
            descriptor = self._descriptor(array.path)
            for number, start in enumerate(starts.tolist()):
                piece = memory[number * length * item : (number + 1) * length * item]
                done = 0
                while done < len(piece):
                    done += os.pwrite(descriptor, piece[done:], array.offset + start * item + done)
        except OSError as error:
            raise CheckpointError(f"cannot write {array.name} of {array.path}: {reason(error)}") from None

    def sync(self) -> None:
        """Force to the disk what was written.

        Raises
        ------
        CheckpointError
            If the disk does not take it.

        Communication
        -------------
        Local.
        """
        for path, descriptor in self._descriptors.items():
            try:
                os.fdatasync(descriptor)
            except OSError as error:
                raise CheckpointError(f"cannot write {path}: {reason(error)}") from None

    def close(self) -> None:
        """Close all files."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])
        while self._files:
            self._files.popitem()[1].close()

    def _read_runs(self, array: StoredArray, box: Sequence[BlockRange]) -> np.ndarray:
        assert array.offset is not None
        values = np.empty([r.size for r in box], array.dtype)
        memory = values.reshape(-1).view(np.uint8).data
        starts, length = runs(array.shape, box)
        size, item, descriptor = length * values.itemsize, values.itemsize, self._descriptor(array.path)
        for number, start in enumerate(starts.tolist()):
            piece, done = memory[number * size : (number + 1) * size], 0
            while done < size:
                got = os.preadv(descriptor, [piece[done:]], array.offset + start * item + done)
                if got == 0:
                    raise OSError(f"the file ends {size - done} bytes too early; it was cut off after it was opened")
                done += got
        self.bytes_read += len(memory)
        return values

    def _read_chunks(self, array: StoredArray, box: Sequence[BlockRange]) -> np.ndarray:
        if array.path not in self._files:
            self._files[array.path] = ConfinedFile(array.path, locking=False)
        dataset = self._files[array.path][array.name]
        load_filters(dataset)
        values = dataset[tuple(slice(r.start, r.stop) for r in box)]
        if dataset.chunks is None:
            self.bytes_read += values.nbytes
        else:
            touched = (range(r.start // c * c, r.stop, c) for r, c in zip(box, dataset.chunks, strict=True))
            self.bytes_read += sum(dataset.id.get_chunk_info_by_coord(corner).size for corner in itertools.product(*touched))
        return values

    def _descriptor(self, path: str) -> int:
        if path not in self._descriptors:
            self._descriptors[path] = os.open(path, self._flags)
        return self._descriptors[path]


def _in_file(array: StoredArray, box: Sequence[BlockRange]) -> tuple[Sequence[BlockRange], tuple[Any, ...]]:
    """The box as the file has it, and how its elements come to lie in the order asked for."""
    if not any(array.turned):
        return box, (...,)
    pairs = list(zip(box, array.shape, array.turned, strict=True))
    stored = [BlockRange(n - r.stop, n - r.start) if turned else r for r, n, turned in pairs]
    return stored, tuple(slice(None, None, -1) if turned else slice(None) for _, _, turned in pairs)


def _narrowed(array: StoredArray, values: np.ndarray) -> np.ndarray:
    """Values as the file holds them."""
    with np.errstate(over="ignore"):
        narrow = np.ascontiguousarray(values, dtype=array.dtype)
    if narrow.dtype.itemsize < values.dtype.itemsize and not np.array_equal(np.isfinite(narrow), np.isfinite(values)):
        raise CheckpointError(
            f"{array.path}: {array.name} has room for numbers up to {np.finfo(narrow.dtype).max:.3g}, got {np.abs(values).max():.3g}: "
            "choose another unit"
        )
    return narrow
