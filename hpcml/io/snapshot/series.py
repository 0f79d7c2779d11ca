"""What stays the same over all steps of a snapshot file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hpcml.core.errors import ConfigError
from hpcml.io.snapshot.field import Field
from hpcml.io.snapshot.geometry import Geometry

FORMAT = "hpcml-snapshots"
FORMAT_VERSION = 1
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
        For no fields, two of one name, a name that is no variable, or one dim with two sizes.
    """

    geometry: Geometry
    fields: Sequence[Field]
    time_units: str = ""
    length_units: str = ""
    attributes: Mapping[str, str | int | float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [entry.name for entry in self.fields]
        taken = {"time", *self.geometry.dims, *(name for entry in self.fields for name, _ in entry.leading)}
        wrong = [name for name in names if not name.isidentifier() or names.count(name) > 1 or name in taken]
        if wrong or not names:
            raise ConfigError(f"fields of a snapshot need names of their own, letters, digits and _, other than {taken}; got {names}")
        sizes: dict[str, int] = {}
        for entry in self.fields:
            for name, size in entry.leading:
                if sizes.setdefault(name, size) != size or name in ("time", *self.geometry.dims):
                    raise ConfigError(f"the dim {name} of the field {entry.name} has size {size}, but also another: rename one")

    @property
    def leading(self) -> dict[str, int]:
        """All dims that stand before those of the geometry, and their sizes."""
        return {name: size for entry in self.fields for name, size in entry.leading}
