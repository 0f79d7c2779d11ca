"""Filters that an array in an HDF5 file is packed with."""

import contextlib

import h5py

from hpcml.core.errors import CheckpointError


def load_filters(dataset: h5py.Dataset) -> None:
    """Make sure that whatever an array is packed with can be unpacked in this process.

    Raises
    ------
    CheckpointError
        Naming the filter that neither HDF5 nor the package hdf5plugin has.

    Communication
    -------------
    Local.
    """
    plan = dataset.id.get_create_plist()
    filters = [plan.get_filter(number) for number in range(plan.get_nfilters())]
    if all(h5py.h5z.filter_avail(code) for code, *_ in filters):
        return
    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401  registers its filters
    for code, _, _, name in filters:
        if not h5py.h5z.filter_avail(code):
            raise CheckpointError(
                f"{dataset.file.filename}: {dataset.name} is packed by the HDF5 filter {code} ({name.decode(errors='replace')}), which "
                "is not there: install the package hdf5plugin, or write the file anew without it"
            )
