"""The view: a small HDF5 file that shows all acknowledged steps of all ranks as whole arrays, by reference."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import hpcml
from hpcml.core.errors import CheckpointError
from hpcml.io.snapshot.field import Field
from hpcml.io.snapshot.geometry import Geometry
from hpcml.io.snapshot.replace_file import replace_file
from hpcml.io.snapshot.segment import Segment
from hpcml.io.snapshot.series import FORMAT, FORMAT_VERSION, LIBVER, Series


@dataclass(frozen=True, slots=True)
class Variable:
    """One field as a view shows it.

    Attributes
    ----------
    dims : tuple of str
        Time first.
    shape : tuple of int
        Of the whole array.
    dtype : numpy.dtype
        Of its values.
    units : str
        Unit.
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    units: str


@dataclass(frozen=True, slots=True)
class View:
    """What a view says; no field is read.

    Attributes
    ----------
    path : pathlib.Path
        The view.
    variables : dict of str to Variable
        The fields.
    coordinates : dict of str to (ndarray, str)
        Values and unit of each dim, ``time`` among them.
    segments : list of Segment
        Where the values are.
    attributes : dict
        Of the file; ``complete`` says that its writer came to the end.
    """

    path: Path
    variables: dict[str, Variable]
    coordinates: dict[str, tuple[np.ndarray, str]]
    segments: list[Segment]
    attributes: dict[str, Any]

    @property
    def times(self) -> np.ndarray:
        """Time of each step."""
        return self.coordinates["time"][0]

    @property
    def parts(self) -> Path:
        """Folder of the files that hold the values."""
        return parts_folder(self.path)


def parts_folder(path: Path) -> Path:
    """Folder of the files that a view refers to."""
    return path.with_suffix(".parts")


def write_view(path: Path, series: Series, times: Sequence[float], segments: Sequence[Segment], complete: bool) -> None:
    """Replace the view by one of these steps, at once: a reader finds the old file or the new one.

    Raises
    ------
    OSError
        Where it cannot be written; the old one is then still there.

    Communication
    -------------
    Local; called on one rank.
    """
    with h5py.File(path.name, "w", driver="core", backing_store=False, libver=LIBVER) as file:
        file.attrs.update(format=FORMAT, format_version=FORMAT_VERSION, complete=complete, written_by=hpcml.__version__)
        file.attrs.update(series.attributes, dims=series.geometry.dims)
        _add_coordinates(file, series, times)
        for field in series.fields:
            _add_field(file, field, series.geometry, segments, parts_folder(path).name)
        file.flush()
        replace_file(path, file.id.get_file_image())


def read_view(path: Path) -> View:
    """Read a view.

    Raises
    ------
    CheckpointError
        Where it is none, damaged, or of a newer format.

    Communication
    -------------
    Local.
    """
    try:
        # from memory: HDF5 would refuse a file that this process has open in another mode
        with h5py.File(BytesIO(path.read_bytes()), "r") as file:
            attributes = dict(file.attrs)
            if attributes.get("format") != FORMAT:
                raise CheckpointError(f"{path} holds no snapshots of hpcml: its attribute format is {attributes.get('format')!r}")
            if attributes["format_version"] > FORMAT_VERSION:
                raise CheckpointError(
                    f"{path} has format version {attributes['format_version']}, expected at most {FORMAT_VERSION}: install a newer hpcml"
                )
            scales = {name: data for name, data in file.items() if data.is_scale}
            fields = {name: data for name, data in file.items() if name not in scales}
            coordinates = {name: (data[:], _units(data)) for name, data in scales.items()}
            segments = _segments(next(iter(fields.values())), len(attributes["dims"]))
            variables = {
                name: Variable(tuple(dim.label for dim in data.dims), data.shape, data.dtype, _units(data)) for name, data in fields.items()
            }
    except FileNotFoundError:
        raise CheckpointError(f"there are no snapshots at {path}") from None
    except (OSError, KeyError, RuntimeError, StopIteration) as error:
        raise CheckpointError(f"{path} cannot be read, it is damaged or no HDF5 file: {error}") from error
    return View(path, variables, coordinates, segments, attributes)


def _add_coordinates(file: h5py.File, series: Series, times: Sequence[float]) -> None:
    units = {"time": series.time_units} | dict.fromkeys(series.geometry.dims, series.length_units)
    values: dict[str, np.ndarray] = {"time": np.asarray(times, np.float64)} | series.geometry.coordinates()
    values |= {name: np.arange(size) for name, size in series.leading.items()}
    for name, array in values.items():
        file[name] = array
        file[name].make_scale(name)
        file[name].attrs["units"] = units.get(name, "")


def _add_field(file: h5py.File, field: Field, geometry: Geometry, segments: Sequence[Segment], parts: str) -> None:
    leading = tuple(size for _, size in field.leading)
    steps = max(part.first + part.count for part in segments)
    layout = h5py.VirtualLayout((steps, *leading, *geometry.shape), field.dtype)
    for part in segments:
        box = tuple(slice(start, start + size) for start, size in zip(part.offset, part.shape, strict=True))
        source = h5py.VirtualSource(f"{parts}/{part.file}", field.name, (part.count, *leading, *part.shape), field.dtype)
        layout[(slice(part.first, part.first + part.count), *(slice(None),) * len(leading), *box)] = source
    dataset = file.create_virtual_dataset(field.name, layout, fillvalue=np.nan)
    dataset.attrs["units"] = field.units
    for dim, name in zip(dataset.dims, ("time", *(name for name, _ in field.leading), *geometry.dims), strict=True):
        dim.label = name
        if name in file:
            dim.attach_scale(file[name])


def _segments(dataset: h5py.Dataset, num_dims: int) -> list[Segment]:
    segments = []
    for source in dataset.virtual_sources():
        start, end = source.vspace.get_select_bounds()
        shape = tuple(stop - first + 1 for first, stop in zip(start, end, strict=True))
        segments.append(Segment(Path(source.file_name).name, start[0], shape[0], start[-num_dims:], shape[-num_dims:]))
    return segments


def _units(dataset: h5py.Dataset) -> str:
    return str(dataset.attrs.get("units", ""))
