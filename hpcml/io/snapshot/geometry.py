"""Where the values of a snapshot lie: what a writer has to know about a grid, or about a mesh."""

from typing import Protocol

import numpy as np


class Geometry(Protocol):
    """The place of this rank's values among those of all ranks, and what ParaView is told about it.

    `UniformGrid` is the one for blocks of a uniform grid; another kind of geometry is another class with these members.
    """

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the dims in the order of the files."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Global size of each of them."""

    @property
    def offset(self) -> tuple[int, ...]:
        """Global index of this rank's first value."""

    @property
    def local_shape(self) -> tuple[int, ...]:
        """Size of this rank's block."""

    def coordinates(self) -> dict[str, np.ndarray]:
        """Coordinates of the dims that have one, whole, by name."""

    def stored(self, block: np.ndarray) -> np.ndarray:
        """The block of this rank, leading dims before it, turned from the order of memory to that of the files; a view."""

    def xdmf(self) -> str:
        """The elements Topology and Geometry, with a point for each value."""
