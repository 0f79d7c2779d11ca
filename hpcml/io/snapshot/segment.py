"""A box of an array that one file holds."""

from dataclasses import dataclass

Place = tuple[tuple[int, ...], tuple[int, ...]]
"""Offset and shape of a block."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What a file holds of one variable, from the beginning of the array of that name in the file.

    Attributes
    ----------
    file : str
        Its name in the folder of parts.
    offset, shape : tuple of int
        Place and size of the box in the dims of the variable: of a field the steps first. Steps of the file beyond these do not count.
    """

    file: str
    offset: tuple[int, ...]
    shape: tuple[int, ...]
