"""Read snapshots, from the files that hold the values and not through the view, so that nothing missing can look like data."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py
import numpy as np

from hpcml.core.errors import CheckpointError, ConfigError, HpcmlError
from hpcml.core.printable import printable
from hpcml.io.files.confined_file import ConfinedFile
from hpcml.io.files.lock import holder
from hpcml.io.files.remedy import reason
from hpcml.io.snapshot.segment import Segment
from hpcml.io.snapshot.superblock import check_length
from hpcml.io.snapshot.view import View, parts_folder, read_view

Index = int | slice
_TRIES = 5  # one seldom fails on a file that is written all the time


class SnapshotFile:
    """The acknowledged steps of one file at the moment of opening; works while they are written and after the writer was killed.

    Parameters
    ----------
    path : pathlib.Path or str
        ``NAME.h5``, or a folder or run that holds exactly one; see `find_snapshots`.

    Attributes
    ----------
    view : View
        Times, coordinates, fields and attributes.

    Raises
    ------
    CheckpointError
        Where there are none or the view is damaged; when reading, where a file is missing, truncated or damaged, naming it.

    Communication
    -------------
    Local. Opening reads a few kilobytes; no file stays open.
    """

    def __init__(self, path: Path | str) -> None:
        self.view: View = read_view(only_snapshots(Path(path)))
        self._live = is_written(self.view.path)

    def read(self, name: str, index: Sequence[Index] = ()) -> np.ndarray:
        """Read a part of a field, or of an array of a mesh.

        Parameters
        ----------
        name : str
            The field, or ``x``, ``y``, ``z``, ``topology`` of a mesh.
        index : sequence of int or slice
            For the first dims, in NumPy's meaning, steps of slices above zero; the rest is read whole.

        Returns
        -------
        ndarray
            What `index` selects; nothing else is read but whole chunks.
        """
        variable = self.view.variables.get(name) or self.view.mesh.get(name)
        if variable is None:
            raise ConfigError(f"{self.view.path} has no field {name!r}: it has {printable(', '.join(self.view.variables))}")
        full = [*index, *(slice(None),) * (len(variable.shape) - len(index))]
        wanted = [
            range(entry % size, entry % size + 1) if isinstance(entry, int) else range(*entry.indices(size))
            for entry, size in zip(full, variable.shape, strict=True)
        ]
        result = np.empty([len(part) for part in wanted], variable.dtype)
        for segment in variable.segments:
            places = [_overlap(*box) for box in zip(wanted, segment.offset, segment.shape, strict=True)]
            if all(places):
                into, source = zip(*places, strict=True)  # type: ignore[arg-type]
                with self._open(segment, name) as dataset:
                    result[into] = dataset[source]
        return result.reshape([len(part) for part, entry in zip(wanted, full, strict=True) if not isinstance(entry, int)])

    def blocks(self, name: str, step: int) -> Iterator[np.ndarray]:
        """The blocks of one step of a field, one after the other, so that the whole need not fit in memory."""
        for segment in self.view.variables[name].segments:
            if segment.offset[0] <= step < segment.offset[0] + segment.shape[0]:
                with self._open(segment, name) as dataset:
                    yield dataset[step - segment.offset[0]]

    @contextmanager
    def _open(self, segment: Segment, name: str) -> Iterator[h5py.Dataset]:
        path = self.view.parts / segment.file
        try:
            check_length(path)
            with _opened(path, self.view.path.parent, self._live) as file:
                dataset, dtype = file.numbers(name), (self.view.variables.get(name) or self.view.mesh[name]).dtype
                if dataset.shape[:1] < segment.shape[:1] or dataset.shape[1:] != segment.shape[1:] or dataset.dtype != dtype:
                    raise CheckpointError(
                        f"{path} is not what {self.view.path.name} refers to: expected {segment.shape} values of {name}, {dtype}, or more "
                        f"steps of them, got an array of shape {dataset.shape}, {dataset.dtype}; restore the file, or write the "
                        "snapshots again"
                    )
                yield dataset
        except FileNotFoundError:
            raise CheckpointError(
                f"{path} is missing: {self.view.path} refers to it for {segment.shape} values of {name} from {segment.offset}; restore it, "
                "or write the snapshots again"
            ) from None
        except HpcmlError:
            raise
        except Exception as error:  # what a damaged file makes its reader raise is up to h5py
            said = reason(error)
            raise CheckpointError(f"{path} cannot be read, it is damaged: {said}; restore it, or write the snapshots again") from error


def find_snapshots(path: Path) -> list[Path]:
    """Snapshot files at a path: the file itself, or those in a folder or in the folder ``snapshots`` of a run.

    Communication
    -------------
    Local.
    """
    if not path.is_dir():
        return [path] if path.exists() else []
    folder = path / "snapshots" if (path / "snapshots").is_dir() else path
    return sorted(entry for entry in folder.glob("*.h5") if entry.with_suffix(".parts").is_dir())


def only_snapshots(path: Path) -> Path:
    """The one snapshot file at a path.

    Raises
    ------
    CheckpointError
        Where there is none, or more than one.
    """
    found = find_snapshots(path)
    if len(found) != 1:
        raise CheckpointError(f"there are no snapshots at {path}" if not found else f"name one of {', '.join(map(str, found))}")
    return found[0]


def is_written(path: Path) -> bool:
    """Whether a writer is at a snapshot file.

    Communication
    -------------
    Local.
    """
    found = holder(parts_folder(path))
    return found is not None and not found[1].gone


def _opened(path: Path, folder: Path, live: bool) -> ConfinedFile:
    """Open a file, again if need be: HDF5 1.10 looks at the size before the superblock, between which a live file may have grown.

    A file that grows is read in a mode in which HDF5 tries again what does not fit together, for a minute and a half; one that does not
    only if a writer that was killed has left its mark.
    """
    if not live:
        with suppress(OSError):
            return ConfinedFile(path, folder, locking=False)
    for _ in range(_TRIES - 1):
        with suppress(OSError):
            return ConfinedFile(path, folder, swmr=True, locking=False)
    return ConfinedFile(path, folder, swmr=True, locking=False)


def _overlap(wanted: range, start: int, size: int) -> tuple[slice, slice] | None:
    """Which of the wanted indices lie in [start, start + size), as a slice of them and as one of what begins at ``start``."""
    first = max(0, -((wanted.start - start) // wanted.step))
    last = min(len(wanted), -((wanted.start - start - size) // wanted.step))
    if first >= last:
        return None
    return slice(first, last), slice(wanted[first] - start, wanted[last - 1] - start + 1, wanted.step)
