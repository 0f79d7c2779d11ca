"""Read snapshots, from the files that hold the values and not through the view, so that nothing missing can look like data."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from hpcml.core.errors import CheckpointError, ConfigError
from hpcml.io.snapshot.segment import Segment
from hpcml.io.snapshot.superblock import check_length
from hpcml.io.snapshot.view import View, read_view

Index = int | slice


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

    def read(self, name: str, index: Sequence[Index] = ()) -> np.ndarray:
        """Read a part of a field.

        Parameters
        ----------
        name : str
            The field.
        index : sequence of int or slice
            For the first dims, in NumPy's meaning, steps of slices above zero; the rest is read whole.

        Returns
        -------
        ndarray
            What `index` selects; nothing else is read but whole chunks.
        """
        variable = self.view.variables.get(name)
        if variable is None:
            raise ConfigError(f"{self.view.path} has no field {name!r}: it has {', '.join(self.view.variables)}")
        full = [*index, *(slice(None),) * (len(variable.shape) - len(index))]
        wanted = [
            range(entry % size, entry % size + 1) if isinstance(entry, int) else range(*entry.indices(size))
            for entry, size in zip(full, variable.shape, strict=True)
        ]
        result = np.empty([len(part) for part in wanted], variable.dtype)
        for segment in self.view.segments:
            places = [_overlap(part, *held) for part, held in zip(wanted, self._bounds(segment, variable.shape), strict=True)]
            if all(places):
                into, source = zip(*places, strict=True)  # type: ignore[arg-type]
                with self._open(segment, name) as dataset:
                    result[into] = dataset[source]
        return result.reshape([len(part) for part, entry in zip(wanted, full, strict=True) if not isinstance(entry, int)])

    def blocks(self, name: str, step: int) -> Iterator[np.ndarray]:
        """The blocks of one step of a field, one after the other, so that the whole need not fit in memory."""
        for segment in self.view.segments:
            if segment.first <= step < segment.first + segment.count:
                with self._open(segment, name) as dataset:
                    yield dataset[step - segment.first]

    def _bounds(self, segment: Segment, shape: tuple[int, ...]) -> list[tuple[int, int]]:
        leading = shape[1 : len(shape) - len(segment.shape)]
        box = [(start, start + size) for start, size in zip(segment.offset, segment.shape, strict=True)]
        return [(segment.first, segment.first + segment.count), *((0, size) for size in leading), *box]

    @contextmanager
    def _open(self, segment: Segment, name: str) -> Iterator[h5py.Dataset]:
        path = self.view.parts / segment.file
        try:
            check_length(path)
            with h5py.File(path, "r", swmr=True, locking=False) as file:
                dataset = file[name]
                if dataset.shape[0] < segment.count or dataset.shape[-len(segment.shape) :] != segment.shape:
                    raise CheckpointError(
                        f"{path} is not what {self.view.path.name} refers to: expected {segment.count} steps of a block {segment.shape} of "
                        f"{name}, got an array of shape {dataset.shape}; restore the file, or write the snapshots again"
                    )
                yield dataset
        except FileNotFoundError:
            raise CheckpointError(
                f"{path} is missing: {self.view.path} refers to it for {segment.count} steps from step {segment.first}; restore it, or "
                "write the snapshots again"
            ) from None
        except (OSError, KeyError) as error:
            raise CheckpointError(f"{path} cannot be read, it is damaged: {error}; restore it, or write the snapshots again") from error


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


def _overlap(wanted: range, start: int, stop: int) -> tuple[slice, slice] | None:
    """Which of the wanted indices lie in [start, stop), as a slice of them and as one of what begins at ``start``."""
    first = max(0, -((wanted.start - start) // wanted.step))
    last = min(len(wanted), -((wanted.start - stop) // wanted.step))
    if first >= last:
        return None
    return slice(first, last), slice(wanted[first] - start, wanted[last - 1] - start + 1, wanted.step)
