"""What a dataset is, whatever file it lies in: an index space of trajectories, times, channels and the cells of a grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from hpcml.core.errors import ConfigError

DIMS = ("x", "y", "z")
"""Names of dims in files that are written here."""


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
    """

    name: str
    order: int = 0
    varies_in_time: bool = True

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
        Of the values of a trajectory; where trajectories differ, those of the first.
    coordinates : tuple of tuple of float
        Of the cells' centres along each dim.
    periodic : tuple of (bool or None)
        Whether a dim closes on itself; None where the file does not say.
    constants : mapping of str to tuple of float
        Numbers that belong to the dataset (one) or to its trajectories (one each).
    """

    name: str
    fields: tuple[Field, ...]
    num_trajectories: int
    times: tuple[float, ...]
    coordinates: tuple[tuple[float, ...], ...]
    periodic: tuple[bool | None, ...]
    constants: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def num_dims(self) -> int:
        """Spatial dims, D."""
        return len(self.coordinates)

    @property
    def num_times(self) -> int:
        """Times of a trajectory."""
        return len(self.times)

    @property
    def grid_shape(self) -> tuple[int, ...]:
        """Cells along each dim."""
        return tuple(map(len, self.coordinates))

    @property
    def extent(self) -> tuple[float, ...]:
        """Length of the box along each dim, cells being as wide as their centres lie apart; 1 for a single cell."""
        return tuple((c[-1] - c[0]) * len(c) / (len(c) - 1) if len(c) > 1 else 1.0 for c in self.coordinates)

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
                raise ConfigError(f"the dataset {self.name} has no field {name!r}: it has {', '.join(found)}")
        return [number for name in names for number in found[name]]
