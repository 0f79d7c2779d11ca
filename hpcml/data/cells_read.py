"""Which values of a dataset a rank reads: those of its own points."""

from collections.abc import Sequence

import numpy as np

from hpcml.core.errors import ConfigError
from hpcml.fields.domain import Domain
from hpcml.graphs.graph import Graph
from hpcml.io.dataset import Dataset
from hpcml.parallel.space import Space
from hpcml.topology.block import BlockRange

GAP = 1024
"""Nodes of others that are read along rather than sought over: 4 KiB of each channel."""


class CellsRead:
    """Reads states of a dataset at this rank's points of a space: its block of a grid, or its nodes of a mesh, in a few stretches.

    Parameters
    ----------
    space : Domain or Graph
        Whose points are the dataset's cells.

    Raises
    ------
    ConfigError
        For another space.
    """

    def __init__(self, space: Space) -> None:
        if isinstance(space, Domain):
            self._boxes: list[Sequence[BlockRange]] = [space.block]
            self._keep: np.ndarray | None = None
            self._nodes: np.ndarray | None = None
        elif isinstance(space, Graph):
            self._nodes = nodes = space.nodes.cpu().numpy()
            ascending = np.sort(nodes)
            cuts = np.flatnonzero(np.diff(ascending) > GAP) + 1
            stretches = [BlockRange(int(run[0]), int(run[-1]) + 1) for run in np.split(ascending, cuts) if len(run)]
            starts = np.cumsum([0, *(run.size for run in stretches)])
            which = np.searchsorted([run.stop for run in stretches], nodes, side="right")
            self._boxes = [[run] for run in stretches]
            self._keep = nodes - np.array([run.start for run in stretches], np.int64)[which] + starts[which]
        else:
            raise ConfigError(f"datasets lie on grids and on meshes, not on a {type(space).__name__}")

    def read(self, dataset: Dataset, trajectory: int, time: int, channels: Sequence[int]) -> np.ndarray:
        """One state, (channel, *local_shape)."""
        times = range(time, time + 1)
        if self._keep is None:
            return dataset.read(trajectory, times, self._boxes[0], channels)[0]
        if not self._boxes:
            return dataset.read(trajectory, times, [BlockRange(0, 0)], channels)[0]
        parts = [dataset.read(trajectory, times, box, channels)[0] for box in self._boxes]
        return np.concatenate(parts, 1)[:, self._keep]

    def place(self, cell: Sequence[int]) -> str:
        """A local index, in words that hold for the file."""
        if self._nodes is not None:
            return f"node {self._nodes[cell[0]]}"
        return f"cell {tuple(c + r.start for c, r in zip(cell, self._boxes[0], strict=True))}"
