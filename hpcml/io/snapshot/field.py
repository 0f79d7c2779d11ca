"""A quantity of a snapshot file."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Field:
    """Name, unit and shape of what is written at every step.

    Attributes
    ----------
    name : str
        Name of the variable: letters, digits and underscores.
    units : str
        As a reader shows it; empty for a pure number, or where none is known.
    leading : tuple of (str, int)
        Name and size of dims before those of the geometry: ``(("sample", 4),)``.
    dtype : str
        ``float32`` or ``float64``: what is written; values of other types are converted.
    at : str, optional
        Where the values sit: ``points`` or ``cells`` of a mesh; by default the first location of the geometry.
    coordinates : tuple of str
        Where points move, the fields that say at each step where those are that the values belong to, one for each coordinate: fields at
        points with the same leading dims, this one perhaps among them. By default points are where the geometry has them.

    Examples
    --------
    >>> Field("vorticity", "1/s", leading=(("sample", 4),)).leading
    (('sample', 4),)
    """

    name: str
    units: str = ""
    leading: tuple[tuple[str, int], ...] = ()
    dtype: str = "float32"
    at: str | None = None
    coordinates: tuple[str, ...] = ()
