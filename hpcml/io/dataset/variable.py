"""How the channels of a dataset lie in arrays."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from hpcml.io.dataset.storage import Storage
from hpcml.io.dataset.stored_array import StoredArray
from hpcml.topology.block import BlockRange


@dataclass(frozen=True, slots=True)
class Variable:
    """Channels that are stored together, in arrays ([trajectory,] [time,] dims, [component, ...]).

    Attributes
    ----------
    first, count : int
        Channels of the dataset that it holds.
    arrays : tuple of StoredArray
        One for each stretch of trajectories.
    lengths : tuple of int
        Trajectories in each array.
    has_trajectory, has_time : bool
        Whether the arrays have these axes; if not, the values hold for all of them.
    dims : tuple of bool
        Spatial dims that are axes of the arrays; along the others the values are constant.
    """

    first: int
    count: int
    arrays: tuple[StoredArray, ...]
    lengths: tuple[int, ...]
    has_trajectory: bool
    has_time: bool
    dims: tuple[bool, ...]

    def read(self, storage: Storage, trajectory: int, times: BlockRange, block: Sequence[BlockRange]) -> np.ndarray:
        """Values (time, channel, *block); one time if they do not vary with it, one cell along dims that are no axes."""
        array, box = self._locate(trajectory, times, block)
        values = storage.read(array, box)
        num_times = times.size if self.has_time else 1
        sizes = [r.size if axis else 1 for r, axis in zip(block, self.dims, strict=True)]
        values = np.moveaxis(values.reshape(num_times, *sizes, self.count), -1, 1)
        return values[:, list(array.components)] if array.components else values

    def write(self, storage: Storage, trajectory: int, times: BlockRange, block: Sequence[BlockRange], values: np.ndarray) -> None:
        """Put values (time, channel, *block) where they belong; those that do not vary in time are taken from the first."""
        array, box = self._locate(trajectory, times, block)
        values = values if self.has_time else values[:1]
        storage.write(array, box, np.moveaxis(values, 1, -1).reshape([r.size for r in box]))

    def turned(self, down: Sequence[bool]) -> "Variable":
        """The same channels, of arrays that have the cells of some dims from high to low."""
        leading = (False,) * (self.has_trajectory + self.has_time)
        axes = leading + tuple(turn for turn, axis in zip(down, self.dims, strict=True) if axis)
        arrays = tuple(replace(array, turned=axes + (False,) * (len(array.shape) - len(axes))) for array in self.arrays)
        return replace(self, arrays=arrays)

    def _locate(self, trajectory: int, times: BlockRange, block: Sequence[BlockRange]) -> tuple[StoredArray, list[BlockRange]]:
        ends = list(accumulate(self.lengths))
        number = bisect_right(ends, trajectory)
        array, local = self.arrays[number], trajectory - ends[number] + self.lengths[number]
        box = [BlockRange(local, local + 1)] if self.has_trajectory else []
        box += [times] if self.has_time else []
        box += [r for r, axis in zip(block, self.dims, strict=True) if axis]
        return array, box + [BlockRange(0, n) for n in array.shape[len(box) :]]
