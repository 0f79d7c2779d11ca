"""Where the values of a snapshot lie: what a writer has to know about a grid, or about a mesh."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from hpcml.io.snapshot.location import Location


class Geometry(Protocol):
    """The place of this rank's values among those of all ranks, and what ParaView is told about it.

    `UniformGrid` is the one for blocks of a uniform grid, `UnstructuredGrid` the one for cells between points; another kind of
    geometry is another class with these members.
    """

    @property
    def locations(self) -> Mapping[str, Location]:
        """Where values can sit, by the name that `Field` calls it; the first is where they do by default."""

    def coordinates(self) -> dict[str, np.ndarray]:
        """Coordinates of the dims that have one, whole, by name."""

    def arrays(self) -> dict[str, tuple[Location, np.ndarray]]:
        """What else describes the geometry and is written once: by name, where in the whole array this rank's part goes, and the part."""

    def stored(self, block: np.ndarray) -> np.ndarray:
        """The block of this rank, leading dims before it, turned from the order of memory to that of the files; a view."""

    def xdmf(self, view: str, moved: Sequence[str] = ()) -> str:
        """The elements Topology and Geometry, with a point or a cell for each value; ``view`` is the HDF5 file with the arrays.

        ``moved`` are the elements of the coordinates that points have now, in place of the first ones among the arrays ``x``, ``y`` and
        ``z``; none where there are no such arrays.
        """
