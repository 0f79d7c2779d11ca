"""The Well's layout: one file per set of trajectories, fields sorted by tensor order.

Reference: R. Ohana and others, The Well: a large-scale collection of diverse physics simulations for machine learning, NeurIPS 2024;
the specification is ``docs/data_format.md`` of https://github.com/PolymathicAI/the_well.
"""

import h5py
import numpy as np

from hpcml.core.errors import CheckpointError
from hpcml.io.dataset.common_times import common_times
from hpcml.io.dataset.description import DIMS, Description, Field
from hpcml.io.dataset.layout import Layout
from hpcml.io.dataset.origin import ATTRIBUTE_NUMBERS, UNKNOWN, read_origin, unit_of, write_origin
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
    times, centres = _times(file), [_coordinate(file["dimensions"][name]) for name in dims]
    periodic, words = _boundaries(file, dims)
    description = Description(
        name=str(file.attrs["dataset_name"]),
        fields=tuple(
            Field(str(name), order, bool(_member(file, f"{group}/{name}").attrs["time_varying"]), unit_of(file[f"{group}/{name}"]))
            for order, group in enumerate(GROUPS)
            for name in file[group].attrs["field_names"]
        ),
        num_trajectories=trajectories,
        times=times,
        coordinates=tuple(tuple(map(float, c)) for c in centres),
        periodic=periodic,
        constants=_constants(file),
        dims=() if tuple(dims) == DIMS[: len(dims)] else tuple(dims),
        boundaries=words,
        time_unit=unit_of(file["dimensions/time"]),
        length_unit=unit_of(file["dimensions"][dims[0]]),
    )
    description = read_origin(file, description, named=True)  # in the order in which they were written, not sorted by tensor order
    variables, first = [], 0
    for entry in description.fields:
        dataset = _member(file, f"{GROUPS[entry.order]}/{entry.name}")
        count = len(entry.channels(len(dims)))
        variables.append(_variable(dataset, entry, first, count, description))
        first += count
    return description, tuple(variables)


def _create(file: h5py.File, description: Description) -> None:
    space, dims = description, description.dim_names
    file.attrs["dataset_name"] = space.name
    file.attrs["grid_type"] = "cartesian"
    file.attrs["n_spatial_dims"] = space.num_dims
    file.attrs["n_trajectories"] = space.num_trajectories
    dimensions = file.create_group("dimensions")
    dimensions.attrs["spatial_dims"] = list(dims)
    units = (space.time_unit, *(space.length_unit for _ in dims))
    for name, values, unit in zip(("time", *dims), (space.times, *space.coordinates), units, strict=True):
        axis = dimensions.create_dataset(name, data=np.array(values, "f4"))
        _mark(axis, sample=False, time=name == "time", unit=unit)
    _write_constants(file, space)
    _write_boundaries(file, space)
    for order, group in enumerate(GROUPS):
        _write_fields(file.create_group(group), [entry for entry in space.fields if entry.order == order], space)
    write_origin(file, space)


def _member(file: h5py.File, name: str) -> h5py.Dataset:
    if name not in file:
        raise CheckpointError(f"{file.filename} lists the field {name} but does not hold it: write the file anew")
    return file[name]


def _times(file: h5py.File) -> tuple[float, ...]:
    """Of the first trajectory; others may begin at another time, but all go on in the same steps."""
    return common_times(np.atleast_2d(file["dimensions/time"][()]), file.filename)


def _coordinate(dataset: h5py.Dataset) -> np.ndarray:
    rows = np.atleast_2d(dataset[()])
    for number, row in enumerate(rows):
        if not np.array_equal(row, rows[0]):
            raise CheckpointError(
                f"{dataset.file.filename}: the cells of trajectory {number} lie elsewhere along {dataset.name} than those of trajectory 0: "
                "write trajectories on one grid into a file"
            )
    return rows[0]


def _boundaries(file: h5py.File, dims: list[str]) -> tuple[tuple[bool | None, ...], tuple[str, ...]]:
    """Whether each dim is periodic, and what its boundary is where that is neither periodic nor a wall."""
    found: dict[str, set[str]] = {}
    for condition in file.get("boundary_conditions", {}).values():
        for name in condition.attrs["associated_dims"]:
            found.setdefault(str(name), set()).add(str(condition.attrs["bc_type"]).lower())
    words = ["+".join(sorted(found.get(name, ()))) for name in dims]
    others = tuple("" if word in ("periodic", "wall") else word for word in words)
    return tuple(word == "periodic" if word else None for word in words), others if any(others) else ()


def _constants(file: h5py.File) -> dict[str, tuple[float, ...]]:
    """Scalars that do not vary in time, as exactly as the file has them: the layout's own are float32, attributes of the root are not."""
    group = file.get("scalars", {})
    names = [str(name) for name in group.attrs["field_names"]] if group else []
    found = {name: np.atleast_1d(group[name][()]) for name in names if not group[name].attrs["time_varying"]}
    for name, values in found.items():
        exact = np.atleast_1d(file.attrs.get(name, values))
        if exact.shape == values.shape and exact.dtype.kind in "iuf" and np.array_equal(exact.astype(values.dtype), values, equal_nan=True):
            found[name] = exact
    return {name: tuple(map(float, values)) for name, values in found.items()}


def _variable(dataset: h5py.Dataset, entry: Field, first: int, count: int, space: Description) -> Variable:
    sample, dims = bool(dataset.attrs["sample_varying"]), tuple(map(bool, dataset.attrs["dim_varying"]))
    leading = [space.num_trajectories] * sample + [space.num_times] * entry.varies_in_time
    expected = (*leading, *(n for n, axis in zip(space.grid_shape, dims, strict=True) if axis), *(space.num_dims,) * entry.order)
    if dataset.shape != expected:
        raise CheckpointError(f"{dataset.file.filename}: {dataset.name} should have shape {expected}, got {dataset.shape}")
    return Variable(first, count, (StoredArray.of(dataset),), (space.num_trajectories,), sample, entry.varies_in_time, dims)


def _mark(thing: h5py.Dataset | h5py.Group, sample: bool, time: bool, unit: str = "") -> None:
    thing.attrs["sample_varying"], thing.attrs["time_varying"] = sample, time
    if unit:
        thing.attrs["units"] = unit


def _write_constants(file: h5py.File, space: Description) -> None:
    group = file.create_group("scalars")
    group.attrs["field_names"] = np.array(list(space.constants), _TEXT)
    small = [name for name, values in space.constants.items() if len(values) <= ATTRIBUTE_NUMBERS]
    file.attrs["simulation_parameters"] = np.array(small, _TEXT)
    for name, values in space.constants.items():
        varies = len(values) > 1
        if name in small:
            file.attrs[name] = values if varies else values[0]
        _mark(group.create_dataset(name, data=np.array(values if varies else values[0], "f4")), sample=varies, time=False)


def _write_boundaries(file: h5py.File, space: Description) -> None:
    group = file.create_group("boundary_conditions")
    kinds = {True: "PERIODIC", False: "WALL", None: UNKNOWN.upper()}
    words = space.boundaries or ("",) * space.num_dims
    for name, closed, word, cells in zip(space.dim_names, space.periodic, words, space.grid_shape, strict=True):
        kind = word.upper() or kinds[closed]
        condition = group.create_group(f"{name}_{kind.lower()}")
        condition.attrs["associated_dims"] = [name]
        condition.attrs["associated_fields"] = np.array([], _TEXT)
        condition.attrs["bc_type"] = kind
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
        _mark(dataset, sample=True, time=entry.varies_in_time, unit=entry.unit)
        if entry.order == 2:
            dataset.attrs["symmetric"] = dataset.attrs["antisymmetric"] = False


LAYOUT = Layout("the-well", "The Well's (groups dimensions and t0_fields)", _recognises, _describe, _create)
