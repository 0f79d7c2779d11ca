"""Snapshots as an xarray Dataset that reads nothing before it is asked for values."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcml.core.errors import ConfigError
from hpcml.io.snapshot.snapshot_file import SnapshotFile
from hpcml.io.snapshot.view import Variable

if TYPE_CHECKING:
    import xarray


def open_snapshots(path: Path | str) -> "xarray.Dataset":
    """Open snapshots lazily, with dims, coordinates, units and attributes.

    Parameters
    ----------
    path : pathlib.Path or str
        ``NAME.h5``, or a folder or run that holds exactly one such file.

    Returns
    -------
    xarray.Dataset
        A variable per field, dims ``time``, those of the samples if there are any, then ``z``, ``y``, ``x``; of a mesh ``point`` or
        ``cell``, with the coordinates ``x``, ``y``, ``z`` of the points and the ``topology``. What is selected is read, and nothing
        else. It shows the steps that were acknowledged when it was opened: open it again for those that came since.

    Raises
    ------
    CheckpointError
        Where there are no snapshots; when values are read, where a file that holds them is missing, truncated or damaged.
    ConfigError
        Without the package xarray.

    Communication
    -------------
    Local.
    """
    try:
        import xarray
        from xarray.core import indexing
    except ImportError:
        raise ConfigError("open_snapshots needs the package xarray: pip install 'hpcml[files]'") from None
    file = SnapshotFile(path)
    view = file.view

    class Lazy(xarray.backends.BackendArray):
        """Reads what xarray selects."""

        def __init__(self, name: str, variable: Variable) -> None:
            self.name, self.shape, self.dtype = name, variable.shape, variable.dtype

        def __getitem__(self, key: Any) -> np.ndarray:
            return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

        def _read(self, key: tuple[Any, ...]) -> np.ndarray:
            return file.read(self.name, [entry if isinstance(entry, slice) else int(entry) for entry in key])

    def lazy(variables: dict[str, Variable]) -> dict[str, Any]:
        return {
            name: (variable.dims, indexing.LazilyIndexedArray(Lazy(name, variable)), {"units": variable.units} if variable.units else {})
            for name, variable in variables.items()
        }

    coordinates = {name: (name, values, {"units": units} if units else {}) for name, (values, units) in view.coordinates.items()}
    attributes = {name: value for name, value in view.attributes.items() if name != "dims"}
    return xarray.Dataset(lazy(view.variables), coordinates | lazy(view.mesh), attributes)
