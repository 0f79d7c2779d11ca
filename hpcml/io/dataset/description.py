"""What a dataset is, whatever file it lies in: an index space of trajectories, times, channels and the cells of a grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from hpcml.core.errors import ConfigError
from hpcml.core.printable import printable
from hpcml.io.dataset.axis import Axis, equally_spaced

DIMS = ("x", "y", "z")
"""Names of dims where none are given."""


@dataclass(frozen=True, slots=True)
class Field:
    """A quantity with a value in every cell.

    Attributes
    ----------
    name : str
        Unique within a dataset.
    order : int
        0 for a scalar, 1 for a vector, 2 for a tensor of D x D components.
    varies_in_time : bool
        Whether it has a value at every time, or one for the whole trajectory.
    unit : str
        Of its values; empty if nothing is known.
    """

    name: str
    order: int = 0
    varies_in_time: bool = True
    unit: str = ""

    def channels(self, num_dims: int) -> tuple[str, ...]:
        """Names of the components: ``velocity_0``, ``velocity_1``; a scalar's is its own."""
        indices = product(range(num_dims), repeat=self.order)
        return tuple("_".join([self.name, "".join(map(str, index))]) if index else self.name for index in indices)


@dataclass(frozen=True, slots=True)
class Description:
    """Index space of a dataset and the meaning of its axes.

    Attributes
    ----------
    name : str
        Of the dataset.
    fields : tuple of Field
        In the order of their channels.
    num_trajectories : int
        Independent runs.
    times : tuple of float
        Of the values of a trajectory; where trajectories begin at different times, those of the first.
    coordinates : tuple of tuple of float
        Of the cells' centres along each dim, ascending.
    periodic : tuple of (bool or None)
        Whether a dim closes on itself; None where the file does not say.
    constants : mapping of str to tuple of float
        Numbers that belong to the dataset (one) or to its trajectories (one each).
    dims : tuple of str
        Names of the dims, by default ``x``, ``y``, ``z``.
    boundaries : tuple of str
        What a boundary is that is neither periodic nor a wall, such as ``open``; empty text, or no entries at all, where there is none.
    time_unit, length_unit : str
        Of times and coordinates; empty if nothing is known.
    located : bool
        Whether the coordinates are the file's own; if not, cells one unit wide stand for them.
    fingerprint : str
        Of the mesh that the cells are nodes of; see `hpcml.io.dataset.on_mesh.OnMesh`.
    """

    name: str
    fields: tuple[Field, ...]
    num_trajectories: int
    times: tuple[float, ...]
    coordinates: tuple[tuple[float, ...], ...]
    periodic: tuple[bool | None, ...]
    constants: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    dims: tuple[str, ...] = ()
    boundaries: tuple[str, ...] = ()
    time_unit: str = ""
    length_unit: str = ""
    located: bool = True
    fingerprint: str = ""

    @property
    def num_dims(self) -> int:
        """Spatial dims, D."""
        return len(self.coordinates)

    @property
    def dim_names(self) -> tuple[str, ...]:
        """Names of the dims, one each."""
        return self.dims or DIMS[: self.num_dims]

    @property
    def num_times(self) -> int:
        """Times of a trajectory."""
        return len(self.times)

    @property
    def grid_shape(self) -> tuple[int, ...]:
        """Cells along each dim."""
        return tuple(map(len, self.coordinates))

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The dims of the grid.

        Raises
        ------
        ConfigError
            Where cells are not equally wide: no grid of hpcml is like that.
        """
        for name, centres in zip(self.dim_names, self.coordinates, strict=True):
            if not equally_spaced(centres):
                raise ConfigError(
                    f"the {len(centres)} cells of the dataset {self.name} along {name} lie at {_some(centres)}, which is not equally far "
                    "apart: hpcml's grids are uniform, so interpolate the fields to one"
                )
        return self.spans

    @property
    def spans(self) -> tuple[Axis, ...]:
        """As `axes`, where nobody asks whether cells are equally wide."""
        return tuple(map(self._span, range(self.num_dims)))

    @property
    def extent(self) -> tuple[float, ...]:
        """Length of the box along each dim, cells being as wide as their centres lie apart; 1 for a single cell. Errors as of `axes`."""
        return tuple(axis.extent for axis in self.axes)

    @property
    def interval(self) -> float:
        """Time between two values of a trajectory; 0 if there is only one.

        Raises
        ------
        ConfigError
            Where it is not always the same.
        """
        if not equally_spaced(self.times):
            raise ConfigError(
                f"the times {_some(self.times)} of the dataset {self.name} do not ascend in equal steps, so that no pair of them means the "
                "same as another: keep those that do"
            )
        return (self.times[-1] - self.times[0]) / (self.num_times - 1) if self.num_times > 1 else 0.0

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels, field after field."""
        return tuple(name for entry in self.fields for name in entry.channels(self.num_dims))

    def channels_of(self, names: Sequence[str]) -> list[int]:
        """Numbers of the channels of some fields, in the order of the names.

        Raises
        ------
        ConfigError
            For a field that the dataset does not have, naming those that it has.

        Communication
        -------------
        Local.
        """
        numbers = {channel: number for number, channel in enumerate(self.channels)}
        found = {entry.name: [numbers[c] for c in entry.channels(self.num_dims)] for entry in self.fields}
        for name in names:
            if name not in found:
                raise ConfigError(f"the dataset {self.name} has no field {name!r}: it has {printable(', '.join(found))}")
        return [number for name in names for number in found[name]]

    def check_filled(self) -> None:
        """Refuse a dataset without any values.

        Raises
        ------
        ConfigError
            If there is no trajectory, no time, no cell or no field.
        """
        if 0 in (self.num_trajectories, self.num_times, len(self.fields), *self.grid_shape):
            raise ConfigError(
                f"the dataset {self.name} is empty: it holds {self.num_trajectories} trajectories of {self.num_times} times and "
                f"{len(self.fields)} fields on {self.grid_shape} cells; name one that holds values"
            )

    def _span(self, d: int) -> Axis:
        centres, closed = self.coordinates[d], self.periodic[d]
        word = (self.boundaries[d] if self.boundaries else "") or {True: "periodic", False: "wall", None: ""}[closed]
        ends = (centres[0], centres[-1]) if centres else (0.0, 0.0)
        return Axis(self.dim_names[d], len(centres), *ends, word, self.length_unit, self.located)


def _some(values: Sequence[float]) -> str:
    """The first numbers, and the last."""
    shown = [f"{value:.6g}" for value in values]
    return ", ".join(shown if len(shown) <= 7 else [*shown[:5], "...", shown[-1]])
