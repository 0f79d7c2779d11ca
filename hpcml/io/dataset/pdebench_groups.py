"""PDEBench's layout of one group per trajectory: diffusion-reaction, diffusion-sorption, shallow water, in files ``*.h5``."""

import re
from pathlib import Path

import h5py
import numpy as np

from hpcml.core.errors import CheckpointError, ConfigError
from hpcml.io.dataset.common_times import common_times
from hpcml.io.dataset.description import DIMS, Description, Field
from hpcml.io.dataset.layout import Layout
from hpcml.io.dataset.origin import read_origin, unit_of, write_origin
from hpcml.io.dataset.stored_array import StoredArray, reserve
from hpcml.io.dataset.variable import Variable

_NUMBER = re.compile(r"^\s*([^:\n]*[^:\s]):\s*([-+]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|inf))\s*$", re.MULTILINE)


def _recognises(file: h5py.File) -> bool:
    return any(name.isdecimal() and "data" in file[name] for name in file)


def _describe(file: h5py.File) -> tuple[Description, tuple[Variable, ...]]:
    groups = [file[name] for name in sorted(filter(str.isdecimal, file), key=int)]
    first = groups[0]
    shape = first["data"].shape
    num_dims = len(shape) - 2
    if not 1 <= num_dims <= 3:
        raise CheckpointError(f"{file.filename}: {first['data'].name} should be (time, cells, ..., channel), got shape {shape}")
    for group in groups:
        if "data" not in group or group["data"].shape != shape:
            raise CheckpointError(f"{file.filename}: {group.name}/data should be of shape {shape} as the first, got {_shape(group)}")
    names = ["data"] if shape[-1] == 1 else [f"data_{c}" for c in range(shape[-1])]
    description = Description(
        name=Path(file.filename).stem,
        fields=tuple(map(Field, names)),
        num_trajectories=len(groups),
        times=common_times(np.stack([group["grid/t"][: shape[0]] for group in groups]), file.filename),
        coordinates=tuple(tuple(map(float, _centres(groups, dim))) for dim in DIMS[:num_dims]),
        periodic=(None,) * num_dims,
        constants=_constants(groups),
        time_unit=unit_of(first["grid/t"]),
        length_unit=unit_of(first["grid/x"]),
    )
    arrays = tuple(StoredArray.of(group["data"]) for group in groups)
    variable = Variable(0, shape[-1], arrays, (1,) * len(arrays), False, True, (True,) * num_dims)
    description = read_origin(file, description)
    if len(description.channels) != shape[-1]:
        raise CheckpointError(f"{file.filename} names {len(description.channels)} channels but holds {shape[-1]}: write the file anew")
    return description, (variable,)


def _centres(groups: list[h5py.Group], dim: str) -> np.ndarray:
    """Of the cells along a dim, the same in all groups."""
    first = groups[0][f"grid/{dim}"][:]
    for group in groups[1:]:
        if not np.array_equal(group[f"grid/{dim}"][:], first):
            raise CheckpointError(
                f"{group.file.filename}: the cells of {group.name} lie elsewhere along {dim} than those of {groups[0].name}: write "
                "trajectories on one grid into a file"
            )
    return first


def _create(file: h5py.File, description: Description) -> None:
    space = description
    steady = [entry.name for entry in space.fields if not entry.varies_in_time]
    if steady:
        raise ConfigError(f"PDEBench's groups hold fields that vary in time, not {', '.join(steady)}: name the file *.hdf5")
    for number in range(space.num_trajectories):
        group = file.create_group(f"{number:04d}")
        reserve(group, "data", (space.num_times, *space.grid_shape, len(space.channels)))
        for name, values in zip(("t", *DIMS), (space.times, *space.coordinates), strict=False):
            group[f"grid/{name}"] = np.array(values, "f4")
        constants = {name: values[number % len(values)] for name, values in space.constants.items()}
        group.attrs["config"] = "".join(f"{name}: {value!r}\n" for name, value in constants.items())
    write_origin(file, space)


def numbers_in(group: h5py.Group) -> dict[str, float]:
    """Lines ``name: number`` of the configuration that a group carries as text."""
    found = _NUMBER.findall(str(group.attrs.get("config", "")))
    return {name: float(value) for name, value in found}


def _constants(groups: list[h5py.Group]) -> dict[str, tuple[float, ...]]:
    """Numbers that every group's configuration names."""
    each = [numbers_in(group) for group in groups]
    found = {name: tuple(numbers[name] for numbers in each) for name in each[0] if all(name in numbers for numbers in each)}
    return {name: values[:1] if len(set(values)) == 1 else values for name, values in found.items()}


def _shape(group: h5py.Group) -> str:
    return str(group["data"].shape) if "data" in group else "none"


LAYOUT = Layout("pdebench-groups", "PDEBench's groups (0000/data)", _recognises, _describe, _create)
