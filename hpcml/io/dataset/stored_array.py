"""One array in an HDF5 file: where its bytes are, so that a rank fetches its own part and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

import h5py
import numpy as np

from hpcml.core.errors import CheckpointError
from hpcml.io.dataset.filters import load_filters
from hpcml.io.dataset.real_numbers import as_real_numbers
from hpcml.io.files.confined_file import ConfinedDataset


@dataclass(frozen=True, slots=True)
class StoredArray:
    """An array in a file, found once by one rank and told to all.

    Attributes
    ----------
    path : str
        The file.
    name : str
        Of the HDF5 dataset in it.
    shape : tuple of int
        Of the whole array.
    dtype : str
        Of its elements in the file, with their byte order.
    offset : int or None
        First byte in the file, if the elements lie there one after the other; None if only the HDF5 library can find them, because they
        are in chunks or compressed.
    turned : tuple of bool
        Axes along which the elements lie from last to first; none if it is empty.
    components : tuple of int
        Places of the channels along the last axis; in their own order if it is empty.
    """

    path: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    offset: int | None
    turned: tuple[bool, ...] = ()
    components: tuple[int, ...] = ()

    @classmethod
    def of(cls, dataset: h5py.Dataset) -> "StoredArray":
        """Describe a dataset of an open file.

        Raises
        ------
        CheckpointError
            If its elements are no real numbers, or packed by a filter that is not there.
        """
        if dataset.dtype.kind not in "biuf":
            raise CheckpointError(
                f"{dataset.file.filename}: {dataset.name} should be of real numbers, got {dataset.dtype}: "
                + as_real_numbers(dataset.dtype.kind, "fields")
            )
        load_filters(dataset)
        if isinstance(dataset, ConfinedDataset):
            dataset.check_sources()  # now, and not when training comes to its values
        plain = dataset.chunks is None and not dataset.is_virtual and dataset.external is None
        offset = dataset.id.get_offset() if plain else None
        return cls(dataset.file.filename, dataset.name, dataset.shape, dataset.dtype.str, offset)

    @property
    def num_bytes(self) -> int:
        """Bytes of all elements, uncompressed."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


def reserve(group: h5py.Group, name: str, shape: Sequence[int], dtype: str | np.dtype = "<f4") -> h5py.Dataset:
    """Make a dataset whose bytes have their place in the file at once, to be written there by any rank.

    Communication
    -------------
    Local; elements that nobody writes are zero.
    """
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_layout(h5py.h5d.CONTIGUOUS)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    plan.set_obj_track_times(False)  # the same content shall be the same file
    space = h5py.h5s.create_simple(tuple(shape))
    h5py.h5d.create(group.id, name.encode(), h5py.h5t.py_create(np.dtype(dtype)), space, plan)
    return group[name]
