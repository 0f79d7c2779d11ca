"""Where the values of a field can sit."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Location:
    """Cells of a grid, points or cells of a mesh: all of them, and this rank's block.

    Attributes
    ----------
    dims : tuple of str
        Names of the dims in the order of the files.
    shape : tuple of int
        Global size of each of them.
    offset : tuple of int
        Global index of this rank's first value.
    local_shape : tuple of int
        Size of this rank's block, which may be empty.
    center : str
        What ParaView calls such values: at a ``Node``, or in a ``Cell``.
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    offset: tuple[int, ...]
    local_shape: tuple[int, ...]
    center: Literal["Node", "Cell"] = "Node"
