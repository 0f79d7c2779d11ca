"""A box of steps and cells that one file holds."""

from dataclasses import dataclass

Place = tuple[tuple[int, ...], tuple[int, ...]]
"""Offset and shape of a block in the dims of a geometry."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Some steps of one block, the same for every field.

    Attributes
    ----------
    file : str
        Its name in the folder of parts.
    first, count : int
        Number in the whole series of the first step in the file, and how many of its steps count.
    offset, shape : tuple of int
        Place and size of the block in the dims of the geometry.
    """

    file: str
    first: int
    count: int
    offset: tuple[int, ...]
    shape: tuple[int, ...]
