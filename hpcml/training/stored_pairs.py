"""Pairs that stay in their files: each rank reads its own cells, ahead of time, and keeps what it has room for."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.core import case
from hpcml.core.errors import ConfigError
from hpcml.fields.domain import Domain
from hpcml.io.dataset import Dataset, Description, open_dataset
from hpcml.training.dataset import Batch, Samples
from hpcml.training.tensor_files import domain_of

AHEAD = 2
"""Updates that are read while one is computed."""
MOST_TYPICAL = 256
"""Samples that mean and deviation are taken from: their error is then some percent, which normalisation does not mind."""


class StoredPairs(Samples):
    """Pairs of one time and a later one, from every trajectory of a dataset.

    Sample s is trajectory s div n, time s mod n, where n is the number of times less the stride.

    Parameters
    ----------
    dataset : Dataset
        Open on this rank.
    spec : hpcml.core.case.Dataset
        Fields, stride and memory.
    domain : Domain
        Deals the dataset's grid.
    dtype : torch.dtype
        Of the fields in memory.

    Raises
    ------
    ConfigError
        On every rank: a field that the dataset does not have, or too few times.

    Communication
    -------------
    Local. A thread of its own reads, and does not hold Python's lock while the file system works.
    """

    def __init__(self, dataset: Dataset, spec: case.Dataset, domain: Domain, dtype: torch.dtype) -> None:
        space = dataset.description
        self.dataset, self.domain, self._dtype, self._stride = dataset, domain, dtype, spec.stride
        varying = tuple(entry.name for entry in space.fields if entry.varies_in_time)
        steady = tuple(entry.name for entry in space.fields if not entry.varies_in_time)
        targets = space.channels_of(spec.targets or varying)
        inputs = space.channels_of(spec.inputs or (varying if spec.stride else steady))
        if not inputs or not targets:
            kind = "vary in time" if spec.stride or not targets else "are constant in time"
            raise ConfigError(f"{space.name} has no fields that {kind}: name data.inputs and data.targets")
        self._per_trajectory = space.num_times - spec.stride
        if self._per_trajectory < 1:
            raise ConfigError(
                f"{space.name} has {space.num_times} times, too few for pairs with data.stride = {spec.stride}, which need "
                f"{spec.stride + 1}; a steady problem has data.stride = 0"
            )
        self._channels = sorted({*inputs, *targets})
        self._inputs, self._targets = ([self._channels.index(c) for c in chosen] for chosen in (inputs, targets))
        self._room = spec.memory << 20
        self._kept: dict[tuple[int, int], np.ndarray] = {}
        self._reader = ThreadPoolExecutor(1, "hpcml-dataset")
        self._coming: dict[tuple[int, ...], Future[tuple[Tensor, Tensor]]] = {}

    @property
    def num_samples(self) -> int:
        return self.dataset.description.num_trajectories * self._per_trajectory

    @property
    def num_channels(self) -> tuple[int, int]:
        return len(self._inputs), len(self._targets)

    def take(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        numbers = tuple(samples.tolist())
        return (self._coming.pop(numbers, None) or self._reader.submit(self._read, numbers)).result()

    def typical(self) -> tuple[Tensor, Tensor]:
        count = min(MOST_TYPICAL, self.num_samples)
        return self.take(torch.arange(count) * self.num_samples // count)

    def ahead(self, updates: Iterable[list[Batch]]) -> Iterator[list[Batch]]:
        self._coming.clear()
        waiting: deque[list[Batch]] = deque()
        for parts in updates:
            for batch in parts:
                numbers = tuple(batch.samples.tolist())
                self._coming[numbers] = self._reader.submit(self._read, numbers)
            waiting.append(parts)
            if len(waiting) > AHEAD:
                yield waiting.popleft()
        yield from waiting

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the channels of an input."""
        return tuple(self.dataset.description.channels[self._channels[place]] for place in self._inputs)

    def states(self, trajectories: range, times: range) -> Iterator[Tensor]:
        """Inputs of some trajectories at one time after the other, (trajectory, channel, *local_shape)."""
        channels = [self._channels[place] for place in self._inputs]
        for time in times:
            read = (self.dataset.read(number, range(time, time + 1), self.domain.block, channels)[0] for number in trajectories)
            yield self._tensor(list(read))

    @property
    def traffic(self) -> str:
        """What this rank has read so far, in words."""
        read, whole = self.dataset.bytes_read, self.dataset.num_bytes
        return f"{read / 1e6:.2f} MB, {100 * read / whole:.1f} % of the {whole / 1e6:.2f} MB of {self.dataset.description.name}"

    def close(self) -> None:
        """End the reading thread and close the files."""
        self._reader.shutdown(cancel_futures=True)
        self.dataset.close()

    def _read(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        inputs, targets = [], []
        for number in numbers:
            trajectory, time = divmod(number, self._per_trajectory)
            inputs.append(self._state(trajectory, time)[self._inputs])
            targets.append(self._state(trajectory, time + self._stride)[self._targets])
        return self._tensor(inputs), self._tensor(targets)

    def _tensor(self, states: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(states)).to(self._dtype)

    def _state(self, trajectory: int, time: int) -> np.ndarray:
        """All channels needed at one time, (channel, *local_shape)."""
        if (trajectory, time) in self._kept:
            return self._kept[trajectory, time]
        state = self.dataset.read(trajectory, range(time, time + 1), self.domain.block, self._channels)[0]
        if state.nbytes <= self._room:
            self._room -= state.nbytes
            self._kept[trajectory, time] = state
        return state


def open_pairs(
    path: str, spec: case.Dataset, grid: case.Grid | None, ranks: case.Ranks, comm: MPI.Intracomm, dtype: torch.dtype
) -> StoredPairs:
    """Open a dataset and deal its grid to the ranks.

    Parameters
    ----------
    path : str
        File or folder.
    spec : hpcml.core.case.Dataset
        What to pair.
    grid : hpcml.core.case.Grid, optional
        Says the extent and which dims are periodic, instead of the file.
    ranks : hpcml.core.case.Ranks
        Process grid.
    comm : MPI.Intracomm
        All ranks.
    dtype : torch.dtype
        Of the fields in memory.

    Raises
    ------
    CheckpointError, ConfigError, TopologyError
        On every rank, for whatever is wrong with the file or does not go with the case.

    Communication
    -------------
    Collective over comm.
    """
    dataset = open_dataset(path, comm)
    space = dataset.description
    if grid is not None and len(grid.shape) != space.num_dims:
        raise ConfigError(f"{path} is on a grid of {space.grid_shape} cells, which does not go with grid.shape = {list(grid.shape)}")
    return StoredPairs(dataset, spec, domain_of(space.grid_shape, grid or _grid_of(space), ranks, comm), dtype)


def _grid_of(space: Description) -> case.Grid:
    """The file's own grid; a dim of which it says nothing is not periodic."""
    return case.Grid(shape=space.grid_shape, extent=space.extent, periodic=tuple(bool(closed) for closed in space.periodic))
