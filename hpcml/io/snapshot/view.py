"""The view: a small HDF5 file that shows all acknowledged steps of all ranks as whole arrays, by reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import hpcml
from hpcml.core.errors import CheckpointError, HpcmlError
from hpcml.core.printable import printable
from hpcml.io.files.confined_file import ConfinedFile
from hpcml.io.files.remedy import reason
from hpcml.io.files.replace import write_file
from hpcml.io.snapshot.segment import Segment
from hpcml.io.snapshot.series import FORMAT, FORMAT_VERSION, LIBVER, Series
from hpcml.io.snapshot.superblock import image


@dataclass(frozen=True, slots=True)
class Variable:
    """One field as a view shows it, or one array of a mesh.

    Attributes
    ----------
    dims : tuple of str
        Time first for a field.
    shape : tuple of int
        Of the whole array.
    dtype : numpy.dtype
        Of its values.
    units : str
        Unit.
    segments : list of Segment
        Where the values are.
    coordinates : tuple of str
        Fields that say where the points of this one are at each step; none where they do not move.
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    units: str
    segments: list[Segment]
    coordinates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class View:
    """What a view says; no field is read.

    Attributes
    ----------
    path : pathlib.Path
        The view.
    variables : dict of str to Variable
        The fields.
    mesh : dict of str to Variable
        Coordinates of the points of a mesh, and ``topology``.
    coordinates : dict of str to (ndarray, str)
        Values and unit of each dim, ``time`` among them.
    attributes : dict
        Of the file; ``complete`` says that its writer came to the end.
    """

    path: Path
    variables: dict[str, Variable]
    mesh: dict[str, Variable]
    coordinates: dict[str, tuple[np.ndarray, str]]
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


def write_view(path: Path, series: Series, times: Sequence[float], segments: Mapping[str, Sequence[Segment]], complete: bool) -> None:
    """Replace the view by one of these steps, whose values and mesh are where the segments say: a reader finds the old file or the new one.

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
        file.attrs.update(series.attributes, dims=series.dims)
        _add_coordinates(file, series, times)
        wholes, parts = series.wholes(), parts_folder(path).name
        for name, (location, part) in series.geometry.arrays().items():
            units = series.length_units if part.dtype.kind == "f" else ""
            _add(file, name, wholes[name], part.dtype, units, location.dims, segments[name], parts)
        for field in series.fields:
            dims = ("time", *(name for name, _ in field.leading), *series.location(field).dims)
            _add(file, field.name, (len(times), *wholes[field.name]), field.dtype, field.units, dims, segments[field.name], parts)
            if field.coordinates:
                file[field.name].attrs["coordinates"] = " ".join(field.coordinates)
        write_file(path, image(file), durable=complete)


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
        with ConfinedFile(path, private=True) as file:
            attributes = dict(file.attrs)
            if attributes.get("format") != FORMAT:
                raise CheckpointError(f"{path} holds no snapshots of hpcml: its attribute format is {attributes.get('format')!r}")
            if attributes["format_version"] > FORMAT_VERSION:
                raise CheckpointError(
                    f"{path} has format version {attributes['format_version']}, expected at most {FORMAT_VERSION}: install a newer hpcml"
                )
            arrays = {name: file.numbers(name) for name in file}
            scales = {name: data for name, data in arrays.items() if data.attrs.get("CLASS") == b"DIMENSION_SCALE"}
            coordinates = {name: (data[:], _units(data)) for name, data in scales.items()}
            variables = {name: _variable(data) for name, data in arrays.items() if name not in scales}
            fields = {name: variable for name, variable in variables.items() if variable.dims[0] == "time"}
            mesh = {name: variable for name, variable in variables.items() if name not in fields}
            times = coordinates["time"][0]
            if any(not _is_whole(variable) for variable in variables.values()) or times.ndim != 1:
                raise CheckpointError(f"{path} is damaged: its arrays do not have the dims that they name, or not all of their parts")
            if any(field.shape[0] != len(times) for field in fields.values()):
                raise CheckpointError(f"{path} is damaged: it has {len(times)} times, and fields of another number of steps")
            if wrong := [name for name, field in fields.items() if not _are_places(field, fields)]:
                raise CheckpointError(f"{path} is damaged: the coordinates of {printable(', '.join(wrong))} are no fields at its points")
    except FileNotFoundError:
        raise CheckpointError(f"there are no snapshots at {path}") from None
    except HpcmlError:
        raise
    except Exception as error:  # what a damaged or foreign file makes its reader raise is up to h5py
        raise CheckpointError(f"{path} cannot be read, it is damaged or no HDF5 file: {type(error).__name__}: {reason(error)}") from error
    return View(path, fields, mesh, coordinates, attributes)


def _add_coordinates(file: h5py.File, series: Series, times: Sequence[float]) -> None:
    units = {"time": series.time_units} | dict.fromkeys(series.dims, series.length_units)
    values: dict[str, np.ndarray] = {"time": np.asarray(times, np.float64)} | series.geometry.coordinates()
    values |= {name: np.arange(size) for name, size in series.leading.items()}
    for name, array in values.items():
        file[name] = array
        file[name].make_scale(name)
        file[name].attrs["units"] = units.get(name, "")


def _add(
    file: h5py.File,
    name: str,
    shape: tuple[int, ...],
    dtype: Any,
    units: str,
    dims: tuple[str, ...],
    segments: Sequence[Segment],
    parts: str,
) -> None:
    """Add a whole array, by reference."""
    layout = h5py.VirtualLayout(shape, dtype)
    for part in segments:
        box = tuple(slice(start, start + size) for start, size in zip(part.offset, part.shape, strict=True))
        # a percent sign begins a pattern, two stand for one
        layout[box] = h5py.VirtualSource(f"{parts}/{part.file}".replace("%", "%%"), name, part.shape, dtype)
    dataset = file.create_virtual_dataset(name, layout, fillvalue=np.nan if np.dtype(dtype).kind == "f" else -1)
    dataset.attrs["units"] = units
    for dim, label in zip(dataset.dims, dims, strict=True):
        dim.label = label
        if label in file and file[label].is_scale:
            dim.attach_scale(file[label])


def _variable(data: h5py.Dataset) -> Variable:
    segments = []
    for source in data.virtual_sources():
        start, end = source.vspace.get_select_bounds()
        shape = tuple(stop - first + 1 for first, stop in zip(start, end, strict=True))
        segments.append(Segment(Path(source.file_name).name, start, shape))
    labels = tuple(str(label) for label in data.attrs["DIMENSION_LABELS"])  # HDF5's own functions crash where such an attribute is odd
    return Variable(labels, data.shape, data.dtype, _units(data), segments, tuple(str(data.attrs.get("coordinates", "")).split()))


def _are_places(field: Variable, fields: Mapping[str, Variable]) -> bool:
    """Whether what a field has for coordinates, if anything, are fields at points, for the same steps and samples."""
    dims, shape = (*field.dims[:-1], "point"), field.shape[:-1]
    places = [fields.get(name) for name in field.coordinates]
    return len(places) <= 3 and all(place is not None and (place.dims, place.shape[:-1]) == (dims, shape) for place in places)


def _is_whole(variable: Variable) -> bool:
    """Whether it has as many dims as it names, and the boxes of its segments as many values as it has."""
    return len(variable.dims) == len(variable.shape) and sum(prod(part.shape) for part in variable.segments) == prod(variable.shape)


def _units(dataset: h5py.Dataset) -> str:
    return str(dataset.attrs.get("units", ""))
