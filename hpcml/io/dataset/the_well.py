"""The Well's layout: one file per set of trajectories, fields sorted by tensor order.

Reference: R. Ohana and others, The Well: a large-scale collection of diverse physics simulations for machine learning, NeurIPS 2024;
the specification is ``docs/data_format.md`` of https://github.com/PolymathicAI/the_well.
"""

from pathlib import Path

import h5py
import numpy as np

from hpcml.core.errors import CheckpointError
from hpcml.io.dataset.description import DIMS, Description, Field
from hpcml.io.dataset.layout import Layout
from hpcml.io.dataset.origin import read_origin, write_origin
from hpcml.io.dataset.stored_array import StoredArray, reserve
from hpcml.io.dataset.variable import Variable

GROUPS = ("t0_fields", "t1_fields", "t2_fields")
_TEXT = h5py.string_dtype()


def _recognises(file: h5py.File) -> bool:
    return "dimensions" in file and "t0_fields" in file


def _describe(file: h5py.File) -> tuple[Description, tuple[Variable, ...]]:
    dims = [str(name) for name in file["dimensions"].attrs["spatial_dims"]]
    if file.attrs.get("grid_type", "cartesian") != "cartesian":
        raise CheckpointError(f"{file.filename} is on a {file.attrs['grid_type']} grid: only cartesian ones can be read")
    trajectories = int(file.attrs["n_trajectories"])
    time = file["dimensions/time"]
    description = Description(
        name=str(file.attrs["dataset_name"]),
        fields=tuple(
            Field(str(name), order, bool(_member(file, f"{group}/{name}").attrs["time_varying"]))
            for order, group in enumerate(GROUPS)
            for name in file[group].attrs["field_names"]
        ),
        num_trajectories=trajectories,
        times=tuple(map(float, time[0] if time.ndim == 2 else time[:])),
        coordinates=tuple(tuple(map(float, _coordinate(file["dimensions"][name]))) for name in dims),
        periodic=_periodic(file, dims),
        constants=_constants(file),
    )
    description = read_origin(file, description)  # in the order in which they were written, not sorted by tensor order
    variables, first = [], 0
    for entry in description.fields:
        dataset = _member(file, f"{GROUPS[entry.order]}/{entry.name}")
        count = len(entry.channels(len(dims)))
        variables.append(_variable(dataset, entry, first, count, description))
        first += count
    return description, tuple(variables)


def _create(path: Path, description: Description) -> None:
    space, dims = description, DIMS[: description.num_dims]
    with h5py.File(path, "w") as file:
        file.attrs["dataset_name"] = space.name
        file.attrs["grid_type"] = "cartesian"
        file.attrs["n_spatial_dims"] = space.num_dims
        file.attrs["n_trajectories"] = space.num_trajectories
        dimensions = file.create_group("dimensions")
        dimensions.attrs["spatial_dims"] = list(dims)
        for name, values in zip(("time", *dims), (space.times, *space.coordinates), strict=True):
            _mark(dimensions.create_dataset(name, data=np.array(values, "f4")), sample=False, time=name == "time")
        _write_constants(file, space)
        _write_boundaries(file, space)
        for order, group in enumerate(GROUPS):
            _write_fields(file.create_group(group), [entry for entry in space.fields if entry.order == order], space)
        write_origin(file, space)


def _member(file: h5py.File, name: str) -> h5py.Dataset:
    if name not in file:
        raise CheckpointError(f"{file.filename} lists the field {name} but does not hold it: write the file anew")
    return file[name]


def _coordinate(dataset: h5py.Dataset) -> np.ndarray:
    return dataset[0] if dataset.ndim == 2 else dataset[:]


def _periodic(file: h5py.File, dims: list[str]) -> tuple[bool | None, ...]:
    found: dict[str, bool] = {}
    for condition in file.get("boundary_conditions", {}).values():
        for name in condition.attrs["associated_dims"]:
            found[str(name)] = str(condition.attrs["bc_type"]).upper() == "PERIODIC"
    return tuple(found.get(name) for name in dims)


def _constants(file: h5py.File) -> dict[str, tuple[float, ...]]:
    """Scalars that do not vary in time."""
    group = file.get("scalars", {})
    names = [str(name) for name in group.attrs["field_names"]] if group else []
    steady = [name for name in names if not group[name].attrs["time_varying"]]
    return {name: tuple(map(float, np.atleast_1d(group[name][()]))) for name in steady}


def _variable(dataset: h5py.Dataset, entry: Field, first: int, count: int, space: Description) -> Variable:
    sample, dims = bool(dataset.attrs["sample_varying"]), tuple(map(bool, dataset.attrs["dim_varying"]))
    leading = [space.num_trajectories] * sample + [space.num_times] * entry.varies_in_time
    expected = (*leading, *(n for n, axis in zip(space.grid_shape, dims, strict=True) if axis), *(space.num_dims,) * entry.order)
    if dataset.shape != expected:
        raise CheckpointError(f"{dataset.file.filename}: {dataset.name} should have shape {expected}, got {dataset.shape}")
    return Variable(first, count, (StoredArray.of(dataset),), (space.num_trajectories,), sample, entry.varies_in_time, dims)


def _mark(thing: h5py.Dataset | h5py.Group, sample: bool, time: bool) -> None:
    thing.attrs["sample_varying"], thing.attrs["time_varying"] = sample, time


def _write_constants(file: h5py.File, space: Description) -> None:
    group = file.create_group("scalars")
    group.attrs["field_names"] = np.array(list(space.constants), _TEXT)
    file.attrs["simulation_parameters"] = np.array(list(space.constants), _TEXT)
    for name, values in space.constants.items():
        varies = len(values) > 1
        file.attrs[name] = values if varies else values[0]
        _mark(group.create_dataset(name, data=np.array(values if varies else values[0], "f4")), sample=varies, time=False)


def _write_boundaries(file: h5py.File, space: Description) -> None:
    group = file.create_group("boundary_conditions")
    kinds = {True: "PERIODIC", False: "WALL", None: "OPEN"}
    for name, closed, cells in zip(DIMS, space.periodic, space.grid_shape, strict=False):
        condition = group.create_group(f"{name}_{kinds[closed].lower()}")
        condition.attrs["associated_dims"] = [name]
        condition.attrs["associated_fields"] = np.array([], _TEXT)
        condition.attrs["bc_type"] = kinds[closed]
        _mark(condition, sample=False, time=False)
        mask = np.zeros(cells, bool)
        mask[[0, -1]] = True
        condition.create_dataset("mask", data=mask)


def _write_fields(group: h5py.Group, fields: list[Field], space: Description) -> None:
    group.attrs["field_names"] = np.array([entry.name for entry in fields], _TEXT)
    for entry in fields:
        leading = (space.num_trajectories, space.num_times) if entry.varies_in_time else (space.num_trajectories,)
        dataset = reserve(group, entry.name, (*leading, *space.grid_shape, *(space.num_dims,) * entry.order))
        dataset.attrs["dim_varying"] = [True] * space.num_dims
        _mark(dataset, sample=True, time=entry.varies_in_time)
        if entry.order == 2:
            dataset.attrs["symmetric"] = dataset.attrs["antisymmetric"] = False


LAYOUT = Layout("the-well", "The Well's (groups dimensions and t0_fields)", _recognises, _describe, _create)
