"""PDEBench's layout of one array per field: scalar equations, Darcy flow and compressible fluids, in files ``*.hdf5``.

Reference: M. Takamoto and others, PDEBench: an extensive benchmark for scientific machine learning, NeurIPS 2022;
https://github.com/pdebench/PDEBench.
"""

from pathlib import Path

import h5py
import numpy as np

from hpcml.core.errors import CheckpointError, ConfigError
from hpcml.core.printable import printable
from hpcml.io.dataset.description import DIMS, Description, Field
from hpcml.io.dataset.layout import Layout
from hpcml.io.dataset.origin import ATTRIBUTE_NUMBERS, read_origin, unit_of, write_origin
from hpcml.io.dataset.stored_array import StoredArray, reserve
from hpcml.io.dataset.variable import Variable

CONSTANTS = "hpcml_constants"
"""Group for constants of more trajectories than an attribute holds."""
_VELOCITY = ("Vx", "Vy", "Vz")


def _recognises(file: h5py.File) -> bool:
    return isinstance(file.get("tensor", file.get("density")), h5py.Dataset)


def _describe(file: h5py.File) -> tuple[Description, tuple[Variable, ...]]:
    main = file["tensor" if "tensor" in file else "density"]
    if main.ndim < 3:
        raise CheckpointError(f"{file.filename}: {main.name} should be (trajectory, time, cells, ...), got shape {main.shape}")
    num_dims = main.ndim - 2
    coordinates = tuple(tuple(map(float, _member(file, f"{dim}-coordinate")[:])) for dim in DIMS[:num_dims])
    # The generators of some equations give the edges of the intervals, one more than there are values.
    times = file["t-coordinate"][: main.shape[1]] if "t-coordinate" in file else np.arange(main.shape[1])
    description = Description(
        name=Path(file.filename).stem,
        fields=_fields(file),
        num_trajectories=main.shape[0],
        times=tuple(map(float, times)),
        coordinates=coordinates,
        periodic=(None,) * num_dims,
        constants=_constants(file, main.shape[0]),
        time_unit=unit_of(file["t-coordinate"]) if "t-coordinate" in file else "",
        length_unit=unit_of(file["x-coordinate"]),
    )
    description = read_origin(file, description)
    return description, tuple(_variable(_member(file, name), channel, description) for channel, name in enumerate(_names(description)))


def _create(file: h5py.File, description: Description) -> None:
    names = _names(description)
    for name in names:
        times = () if name == "nu" else (description.num_times,)
        reserve(file, name, (description.num_trajectories, *times, *description.grid_shape))
    for dim, centres in zip(DIMS, description.coordinates, strict=False):
        file[f"{dim}-coordinate"] = np.array(centres, "f4")
    file["t-coordinate"] = np.array(description.times, "f4")
    for name, values in description.constants.items():
        if len(values) > ATTRIBUTE_NUMBERS:
            file.require_group(CONSTANTS)[name] = values
        else:
            file.attrs[name] = values if len(values) > 1 else values[0]
    write_origin(file, description)


def _constants(file: h5py.File, trajectories: int) -> dict[str, tuple[float, ...]]:
    """Attributes that are real numbers, one or one for each trajectory, and what was too long for an attribute."""
    found = {name: np.asarray(value) for name, value in file.attrs.items() if not name.startswith("hpcml_")}
    found |= {name: array[()] for name, array in file.get(CONSTANTS, {}).items()}
    numbers = {name: np.atleast_1d(value) for name, value in found.items() if value.dtype.kind in "iuf"}
    return {name: tuple(map(float, value)) for name, value in numbers.items() if value.shape in ((1,), (trajectories,))}


def _fields(file: h5py.File) -> tuple[Field, ...]:
    if "density" in file:
        return Field("density"), Field("pressure"), Field("velocity", 1)
    return (Field("nu", varies_in_time=False), Field("tensor")) if "nu" in file else (Field("tensor"),)


def _names(space: Description) -> tuple[str, ...]:
    """The array of each channel."""
    if {(f.name, f.order) for f in space.fields} == {("density", 0), ("pressure", 0), ("velocity", 1)}:
        by_field = {"density": ("density",), "pressure": ("pressure",), "velocity": _VELOCITY[: space.num_dims]}
        return tuple(name for entry in space.fields for name in by_field[entry.name])
    kinds = [(entry.order, entry.varies_in_time) for entry in space.fields]
    if kinds == [(0, True)]:
        return ("tensor",)
    if kinds == [(0, False), (0, True)]:
        return ("nu", "tensor")
    raise ConfigError(
        f"PDEBench's arrays hold one scalar, a coefficient and a solution, or density, pressure and velocity, not "
        f"{', '.join(f.name for f in space.fields)}: name the file *.h5 to write PDEBench's groups, or write The Well's layout"
    )


def _member(file: h5py.File, name: str) -> h5py.Dataset:
    if name not in file:
        raise CheckpointError(f"{file.filename} is of PDEBench's layout but has no array {name}: it holds {printable(', '.join(file))}")
    return file[name]


def _variable(dataset: h5py.Dataset, channel: int, space: Description) -> Variable:
    has_time = dataset.name != "/nu"
    expected = (space.num_trajectories, *[space.num_times] * has_time, *space.grid_shape)
    if dataset.shape != expected:
        raise CheckpointError(f"{dataset.file.filename}: {dataset.name} should be of shape {expected}, got {dataset.shape}")
    return Variable(channel, 1, (StoredArray.of(dataset),), (space.num_trajectories,), True, has_time, (True,) * space.num_dims)


LAYOUT = Layout("pdebench", "PDEBench's arrays (tensor, or density)", _recognises, _describe, _create)
