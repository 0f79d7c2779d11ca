"""What stays the same over all steps of a snapshot file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hpcml.core.errors import ConfigError
from hpcml.io.snapshot.field import Field
from hpcml.io.snapshot.geometry import Geometry
from hpcml.io.snapshot.location import Location
from hpcml.io.snapshot.segment import Place

FORMAT = "hpcml-snapshots"
FORMAT_VERSION = 2
LIBVER = ("v110", "v110")
"""The oldest HDF5 whose files can be followed; every reader of the last ten years knows it."""


@dataclass(frozen=True, slots=True)
class Series:
    """Fields on a geometry.

    Attributes
    ----------
    geometry : Geometry
        Where the values lie.
    fields : sequence of Field
        What is written at each step.
    time_units, length_units : str
        Of time and of the coordinates; empty if unknown.
    attributes : mapping of str to str, int or float
        What else a reader is told, such as the equation and the case.

    Raises
    ------
    ConfigError
        For no fields, two of one name, a name that is no variable, one dim with two sizes, a location that the geometry does not have,
        coordinates that are no such fields or more than a point has, or text that HDF5 cannot hold.
    """

    geometry: Geometry
    fields: Sequence[Field]
    time_units: str = ""
    length_units: str = ""
    attributes: Mapping[str, str | int | float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [entry.name for entry in self.fields]
        reserved = {"time", *self.dims, *self.geometry.arrays()}
        taken = reserved | {name for entry in self.fields for name, _ in entry.leading}
        wrong = [name for name in names if not name.isidentifier() or names.count(name) > 1 or name in taken]
        if wrong or not names:
            raise ConfigError(f"fields of a snapshot need names of their own, letters, digits and _, other than {taken}; got {names}")
        texts = [self.time_units, self.length_units, *(entry.units for entry in self.fields), *self.attributes]
        for text in (*texts, *(value for value in self.attributes.values() if isinstance(value, str))):
            if "\0" in text or text != text.encode("utf-8", "ignore").decode():
                raise ConfigError(f"{text!r} cannot be an attribute of a snapshot file: it is no text of UTF-8 without NUL characters")
        sizes: dict[str, int] = {}
        for entry in self.fields:
            if entry.at not in (None, *self.geometry.locations):
                raise ConfigError(f"the field {entry.name} cannot sit at {entry.at!r}: expected {' or '.join(self.geometry.locations)}")
            for name, size in entry.leading:
                if sizes.setdefault(name, size) != size or name in reserved or not name.isidentifier():
                    raise ConfigError(
                        f"the dim {name!r} of the field {entry.name} has size {size}: expected a name of letters, digits and _, "
                        f"that no dim of another size has"
                    )
            self._check_coordinates(entry)

    @property
    def dims(self) -> tuple[str, ...]:
        """All dims of the geometry."""
        return tuple(name for location in self.geometry.locations.values() for name in location.dims)

    @property
    def leading(self) -> dict[str, int]:
        """All dims that stand before those of the geometry, and their sizes."""
        return {name: size for entry in self.fields for name, size in entry.leading}

    def location(self, entry: Field) -> Location:
        """Where the values of a field sit."""
        locations = self.geometry.locations
        return next(iter(locations.values())) if entry.at is None else locations[entry.at]

    def _check_coordinates(self, entry: Field) -> None:
        points = [location for name, (location, _) in self.geometry.arrays().items() if name in ("x", "y", "z")]
        fields = {field.name for field in self.fields if field.leading == entry.leading and self.location(field) in points}
        if not fields >= set(entry.coordinates) or len(entry.coordinates) > len(points):
            raise ConfigError(
                f"the coordinates of the field {entry.name} are fields at points of {len(points)} coordinates, with its leading dims: "
                f"expected some of {sorted(fields) if points else []}, got {list(entry.coordinates)}"
            )

    def wholes(self) -> dict[str, tuple[int, ...]]:
        """Global shape of a step of each field, and of each array of the geometry."""
        fields = {entry.name: _sizes(entry) + self.location(entry).shape for entry in self.fields}
        return fields | {name: location.shape for name, (location, _) in self.geometry.arrays().items()}

    def places(self) -> dict[str, Place]:
        """Offset and shape of this rank's block in each of them."""
        fields = {entry.name: _within(_sizes(entry), self.location(entry)) for entry in self.fields}
        return fields | {name: _within((), location) for name, (location, _) in self.geometry.arrays().items()}


def _sizes(entry: Field) -> tuple[int, ...]:
    return tuple(size for _, size in entry.leading)


def _within(sizes: tuple[int, ...], location: Location) -> Place:
    return (0,) * len(sizes) + location.offset, sizes + location.local_shape
