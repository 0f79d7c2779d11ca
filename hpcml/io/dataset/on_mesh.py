"""Datasets on the nodes of a mesh, in a layout of hpcml's own: the mesh once, then trajectories of fields with a value at every node.

/mesh/points (node, dim)    /mesh/edges (edge, 2)    /mesh/cells/KIND (cell, corner)    /times (time,)
/fields/NAME ([trajectory,] [time,] node, [component, ...])
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import h5py
import numpy as np

from hpcml.core.errors import CheckpointError, ConfigError
from hpcml.io.dataset.axis import Axis
from hpcml.io.dataset.description import Description, Field
from hpcml.io.dataset.layout import Layout
from hpcml.io.dataset.origin import unit_of
from hpcml.io.dataset.stored_array import StoredArray, reserve
from hpcml.io.dataset.variable import Variable
from hpcml.io.snapshot.unstructured_grid import CORNERS

FORMAT, FORMAT_VERSION = "hpcml-mesh-dataset", 1


@dataclass(frozen=True, slots=True)
class OnMesh(Description):
    """Index space of a dataset on a mesh: its cells are the nodes, in one row, and its coordinates the ends of the box around them.

    Attributes
    ----------
    num_nodes, num_edges : int
        Of the mesh. Edges are directed: most meshes have each of them both ways.
    num_cells : mapping of str to int
        Cells of each kind that there is, by the names of `hpcml.io.UnstructuredGrid`.

    Notes
    -----
    Files of one mesh have one ``fingerprint``.
    """

    num_nodes: int = 0
    num_edges: int = 0
    num_cells: Mapping[str, int] = field(default_factory=dict)

    @property
    def grid_shape(self) -> tuple[int, ...]:
        return (self.num_nodes,)

    @property
    def spans(self) -> tuple[Axis, ...]:
        """One for each coordinate; another mesh may lie anywhere else."""
        return tuple(Axis(name, self.num_nodes, 0.0, 0.0, unit=self.length_unit, located=False) for name in self.dim_names)

    @property
    def axes(self) -> tuple[Axis, ...]:
        return self.spans


def _recognises(file: h5py.File) -> bool:
    return file.attrs.get("format") == FORMAT


def _describe(file: h5py.File) -> tuple[Description, tuple[Variable, ...]]:
    if int(file.attrs["format_version"]) > FORMAT_VERSION:
        raise CheckpointError(f"{file.filename} was written by a newer hpcml: upgrade hpcml")
    points, edges, times = (file.numbers(name) for name in ("mesh/points", "mesh/edges", "times"))
    cells = {str(name): file.numbers(f"mesh/cells/{name}") for name in file["mesh/cells"]}
    num_nodes, num_dims = points.shape if points.ndim == 2 else (0, 0)
    corners = {name: CORNERS.get(name, 0) for name in cells}
    shapes = {**{f"cells {name}": (array.shape[1:], (corners[name],)) for name, array in cells.items()}, "edges": (edges.shape[1:], (2,))}
    wrong = {name: got for name, (got, expected) in shapes.items() if got != expected}
    if num_dims not in (1, 2, 3) or wrong:
        raise CheckpointError(
            f"{file.filename}: expected points (node, 1 to 3), edges (edge, 2) and cells (cell, corner) of {', '.join(CORNERS)}, got "
            f"points {points.shape} and {wrong or 'the rest as expected'}"
        )
    fields = tuple(_field(file, str(name)) for name in file.attrs["fields"])
    description = OnMesh(
        name=str(file.attrs["name"]),
        fields=fields,
        num_trajectories=int(file.attrs["num_trajectories"]),
        times=tuple(map(float, times[()])),
        coordinates=tuple((float(low), float(high)) for low, high in file.attrs["box"]),
        periodic=(None,) * num_dims,
        constants={str(name): tuple(map(float, values[()])) for name, values in file["constants"].items()},
        time_unit=unit_of(times),
        length_unit=unit_of(points),
        num_nodes=num_nodes,
        num_edges=len(edges),
        num_cells={name: len(array) for name, array in cells.items()},
        fingerprint=str(file.attrs["fingerprint"]),
    )
    variables, first = [], 0
    for entry in description.fields:
        variables.append(_variable(file.numbers(f"fields/{entry.name}"), entry, first, description))
        first += len(entry.channels(num_dims))
    return description, tuple(variables)


def _field(file: h5py.File, name: str) -> Field:
    array = file.numbers(f"fields/{name}")
    return Field(name, int(array.attrs["order"]), bool(array.attrs["time_varying"]), unit_of(array))


def _variable(array: h5py.Dataset, entry: Field, first: int, space: OnMesh) -> Variable:
    inner = (*[space.num_times] * entry.varies_in_time, space.num_nodes, *[space.num_dims] * entry.order)
    shared = array.ndim == len(inner)  # the same for all trajectories
    expected = inner if shared else (space.num_trajectories, *inner)
    if array.shape != expected:
        raise CheckpointError(f"{array.file.filename}: {array.name} should have shape {expected}, got {array.shape}")
    count = len(entry.channels(space.num_dims))
    return Variable(first, count, (StoredArray.of(array),), (space.num_trajectories,), not shared, entry.varies_in_time, (True,))


def _create(file: h5py.File, description: Description) -> None:
    if not isinstance(description, OnMesh):
        raise ConfigError("the layout mesh holds fields on the nodes of a mesh: describe them by hpcml.io.dataset.OnMesh")
    space = description
    file.attrs.update({"format": FORMAT, "format_version": FORMAT_VERSION, "name": space.name, "fingerprint": space.fingerprint})
    file.attrs["num_trajectories"] = space.num_trajectories
    file.attrs["fields"] = np.array([entry.name for entry in space.fields], h5py.string_dtype())
    file.attrs["box"] = np.array(space.coordinates, np.float64)
    times = file.create_dataset("times", data=np.array(space.times, np.float64))
    mesh = file.create_group("mesh")
    points = reserve(mesh, "points", (space.num_nodes, space.num_dims), "<f8")
    reserve(mesh, "edges", (space.num_edges, 2), "<i8")
    cells = mesh.create_group("cells")
    for kind, count in space.num_cells.items():
        reserve(cells, kind, (count, CORNERS[kind]), "<i8")
    for array, unit in ((times, space.time_unit), (points, space.length_unit)):
        if unit:
            array.attrs["units"] = unit
    constants, fields = file.create_group("constants"), file.create_group("fields")
    for name, values in space.constants.items():
        constants.create_dataset(name, data=np.array(values, np.float64))
    for entry in space.fields:
        leading = (space.num_trajectories, *[space.num_times] * entry.varies_in_time)
        array = reserve(fields, entry.name, (*leading, space.num_nodes, *[space.num_dims] * entry.order))
        array.attrs["order"], array.attrs["time_varying"] = entry.order, entry.varies_in_time
        if entry.unit:
            array.attrs["units"] = entry.unit


LAYOUT = Layout("mesh", "hpcml's own on meshes (an attribute format that is hpcml-mesh-dataset)", _recognises, _describe, _create)
