"""What makes a layout known: how to recognise, read and make its files."""

from collections.abc import Callable
from dataclasses import dataclass

import h5py

from hpcml.io.dataset.description import Description
from hpcml.io.dataset.variable import Variable


@dataclass(frozen=True, slots=True)
class Layout:
    """A way in which datasets lie in HDF5 files. All of its functions are local; one rank calls them and tells the others.

    Attributes
    ----------
    name : str
        As users call it.
    shows : str
        What its files are known by, for messages.
    recognises : callable
        Whether a file is of this layout.
    describe : callable
        Index space of a file, and where its channels lie. Raises CheckpointError if something that the layout demands is absent or does
        not fit.
    create : callable, optional
        Put all structure into an empty file, and no values yet: these are zero until they are written, by any rank. Raises ConfigError
        for fields that the layout cannot hold. A layout without it is read, not written.
    """

    name: str
    shows: str
    recognises: Callable[[h5py.File], bool]
    describe: Callable[[h5py.File], tuple[Description, tuple[Variable, ...]]]
    create: Callable[[h5py.File, Description], None] | None = None
