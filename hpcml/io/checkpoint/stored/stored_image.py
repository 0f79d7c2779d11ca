"""One rank's file of a checkpoint, on disk."""

from pathlib import Path
from typing import Any

import h5py

from hpcml.io.checkpoint.stored.catalog import DamagedError, rank_file
from hpcml.io.files.confined_file import ConfinedFile


class StoredImage:
    """The file of a rank, open for reading; only what lies in the file itself is read, since nothing else has a checksum.

    Parameters
    ----------
    folder : pathlib.Path
        The checkpoint.
    rank : int
        Who wrote it.

    Raises
    ------
    DamagedError
        Where the file, or an array that is asked for, is elsewhere or of another kind.
    OSError, KeyError, RuntimeError
        From HDF5, for what is damaged or not there.

    Communication
    -------------
    Local.
    """

    def __init__(self, folder: Path, rank: int) -> None:
        self._file = ConfinedFile(folder / rank_file(rank), folder, locking="best-effort")

    def __getitem__(self, name: str) -> h5py.Dataset:
        dataset = self._file[name]
        if not isinstance(dataset, h5py.Dataset) or dataset.home is not self._file or (dataset.size and dataset.id.get_offset() is None):
            raise DamagedError(f"{self._file.path} does not hold the values of {name} in one piece: hpcml did not write it like this")
        return dataset

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> "StoredImage":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()
