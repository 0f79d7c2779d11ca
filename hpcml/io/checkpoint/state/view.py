"""The arrays of a checkpoint as one HDF5 file, by reference to the files of the ranks."""

import os

import h5py
import numpy as np

from hpcml.io.checkpoint.state.dtypes import storage_dtype
from hpcml.io.checkpoint.state.image import dataset_name, to_json
from hpcml.io.checkpoint.state.layout import Layout
from hpcml.io.checkpoint.stored.catalog import FORMAT, FORMAT_VERSION, rank_file
from hpcml.io.files.memory_file import MemoryFile


def build_view(layout: Layout) -> int:
    """Lay out the view as a file in memory.

    Returns
    -------
    int
        Its file descriptor. The names in it are relative, so that the same bytes serve every checkpoint of this layout.

    Communication
    -------------
    Local.

    Notes
    -----
    Rows are left out, as their number changes from save to save. HDF5 shows the part of a missing file as zeros and not as an error:
    `hpcml inspect` and `hpcml.io.restore` see what is missing, other readers do not.
    """
    view = MemoryFile()
    with h5py.File(view, "w", libver=("v110", "v110")) as file:
        file.attrs["format"] = FORMAT
        file.attrs["format_version"] = FORMAT_VERSION
        file.create_dataset("structure", data=np.frombuffer(to_json(layout.head()), np.uint8))
        for entry, spec in enumerate(layout.specs):
            if spec.placement == "rows" or 0 in spec.shape:
                continue
            dtype = storage_dtype(spec.dtype)
            name = dataset_name(spec).replace("%", "%%")  # one alone would begin a pattern
            virtual = h5py.VirtualLayout(spec.shape, dtype)
            for rank, pieces in enumerate(layout.pieces):
                for piece in pieces:
                    if piece.entry == entry:
                        source = h5py.VirtualSource(rank_file(rank), name, shape=piece.box.shape, dtype=dtype)
                        virtual[piece.box.slices((0,) * len(spec.shape))] = source
            file.create_virtual_dataset(dataset_name(spec), virtual)
    fd = os.memfd_create("hpcml-view")
    view.write_to(fd)
    return fd
