"""Pairs that stay in their files: each rank reads its own cells, ahead of time, and keeps what it has room for."""

import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.core import case
from hpcml.core.errors import ConfigError, TrainingError
from hpcml.data.cells_read import CellsRead
from hpcml.data.mesh_space import graph_of
from hpcml.data.order_of_dims import check_order_of_dims
from hpcml.data.own_layout import open_layout
from hpcml.data.samples import Samples
from hpcml.data.schedule import Batch
from hpcml.data.stated_grid import with_grid
from hpcml.data.tensor_files import domain_of
from hpcml.io.dataset import Dataset, Description, Meaning
from hpcml.io.dataset.on_mesh import OnMesh
from hpcml.mpi.agreement import raise_together
from hpcml.mpi.host_copy import to_device
from hpcml.parallel.space import Space

MOST_TYPICAL = 256
"""Samples that mean and deviation are taken from: their error is then some percent, which normalisation does not mind."""


class StoredPairs(Samples):
    """Pairs of one time and a later one, or several at equal distances, from every trajectory of a dataset.

    Sample s is trajectory s div n, time s mod n, where n is the number of times less that from an input to its last target.

    Parameters
    ----------
    dataset : Dataset
        Open on this rank.
    meaning : Meaning
        Names the fields.
    stride : int
        Times from an input to its target.
    space : Domain or Graph
        Deals the dataset's grid, or the nodes of its mesh.
    dtype : torch.dtype
        Of the fields in memory.
    memory : int
        Bytes of what was read that may be kept.
    steps : int
        Targets of an input; several are (sample, step, channel, *local_shape).

    Communication
    -------------
    Local. A thread of its own reads, and does not hold Python's lock while the file system works. What is wrong with a sample is agreed on
    when it is taken: one byte.
    """

    meaning: Meaning

    def __init__(
        self, dataset: Dataset, meaning: Meaning, stride: int, space: Space, dtype: torch.dtype, memory: int, steps: int = 1
    ) -> None:
        self.dataset, self.space, self.meaning, self.stride, self._dtype = dataset, space, meaning, stride, dtype
        self.steps, self._cells = steps, CellsRead(space)
        inputs, targets = (dataset.description.channels_of(names) for names in meaning.names)
        self._channels = sorted({*inputs, *targets})
        self._inputs, self._targets = ([self._channels.index(c) for c in chosen] for chosen in (inputs, targets))
        still = [entry.name for entry in dataset.description.fields if not entry.varies_in_time]
        self._still, self._room = set(dataset.description.channels_of(still)), memory
        self._kept: dict[tuple[int, int | None, tuple[int, ...]], np.ndarray] = {}
        self._reader = ThreadPoolExecutor(1, "hpcml-dataset")
        self._coming: dict[tuple[int, ...], Future[tuple[Tensor, Tensor]]] = {}

    @property
    def num_samples(self) -> int:
        return self._count(self.steps)

    @property
    def num_channels(self) -> tuple[int, int]:
        return len(self._inputs), len(self._targets)

    def take(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        return self._taken(tuple(samples.tolist()), self.steps)

    def _taken(self, numbers: tuple[int, ...], steps: int) -> tuple[Tensor, Tensor]:
        with raise_together(self.space.world_comm):
            coming = self._coming.pop(numbers, None) if steps == self.steps else None
            found = (coming or self._reader.submit(self._read, numbers, steps)).result()
        inputs, targets = to_device(self.space.device, *found)
        return inputs, targets

    def typical(self) -> tuple[Tensor, Tensor]:
        count = min(MOST_TYPICAL, self._count(1))
        return self._taken(tuple((torch.arange(count) * self._count(1) // count).tolist()), 1)

    def expect(self, samples: Tensor) -> None:
        numbers = tuple(samples.tolist())
        self._coming[numbers] = self._reader.submit(self._read, numbers, self.steps)

    def ahead(self, updates: Iterable[list[Batch]]) -> Iterator[list[Batch]]:
        self._coming.clear()
        return super().ahead(updates)

    @property
    def target_names(self) -> tuple[str, ...]:
        """Names of the channels of a target."""
        return tuple(self.dataset.description.channels[self._channels[place]] for place in self._targets)

    def states(self, trajectories: range, times: range) -> Iterator[Tensor]:
        """Inputs of some trajectories at one time after the other, (trajectory, channel, *local_shape); collective as `take`."""
        channels = [self._channels[place] for place in self._inputs]
        for time in times:
            with raise_together(self.space.world_comm):
                read = [self._state(number, time, channels) for number in trajectories]
                field = self._tensor(read, [(number, time) for number in trajectories], channels)
            yield to_device(self.space.device, field)[0]

    @property
    def traffic(self) -> str:
        """What this rank has read so far, in words."""
        read, whole = self.dataset.bytes_read, self.dataset.num_bytes
        return f"{read / 1e6:.2f} MB, {100 * read / whole:.1f} % of the {whole / 1e6:.2f} MB of {self.dataset.description.name}"

    def close(self) -> None:
        """End the reading thread and close the files."""
        self._reader.shutdown(cancel_futures=True)
        self.dataset.close()

    def _times(self, steps: int) -> int:
        """Times of a trajectory that have so many targets."""
        return self.dataset.description.num_times - steps * self.stride

    def _count(self, steps: int) -> int:
        return self.dataset.description.num_trajectories * self._times(steps)

    def _read(self, numbers: Sequence[int], steps: int) -> tuple[Tensor, Tensor]:
        before = [divmod(number, self._times(steps)) for number in numbers]
        after = [(trajectory, time + step * self.stride) for trajectory, time in before for step in range(1, steps + 1)]
        inputs = [self._state(*at, self._channels)[self._inputs] for at in before]
        targets = [self._state(*at, self._channels)[self._targets] for at in after]
        names = [[self._channels[place] for place in places] for places in (self._inputs, self._targets)]
        later = self._tensor(targets, after, names[1])
        return self._tensor(inputs, before, names[0]), later if steps == 1 else later.unflatten(0, (len(before), steps))

    def _tensor(self, states: list[np.ndarray], at: Sequence[tuple[int, int]], channels: Sequence[int]) -> Tensor:
        """States as a field of numbers that are all finite."""
        stored = torch.from_numpy(np.stack(states))
        field = stored.to(self._dtype)
        bad = (~torch.isfinite(field)).nonzero()
        if len(bad):
            place, channel, *cell = first = tuple(bad[0].tolist())
            value = stored[first].item()
            remedy = "mend the data"
            if math.isfinite(value):
                remedy = f"{value:g} has no room in {str(self._dtype)[6:]}, so set training.dtype = 'float64' or choose another unit"
            name = self.dataset.description.channels[channels[channel]]
            raise TrainingError(
                f"{self.meaning.source}: {len(bad)} values are not finite, the first of {name} in trajectory {at[place][0]}, "
                f"time {at[place][1]}, {self._cells.place(cell)}: {remedy}"
            )
        return field if self.space.channel_dim == 1 else field.movedim(1, -1).contiguous()

    def _state(self, trajectory: int, time: int, channels: Sequence[int]) -> np.ndarray:
        """Some channels at one time, (channel, *local_shape)."""
        still, moving = ([c for c in channels if (c in self._still) == is_still] for is_still in (True, False))
        parts = [self._read_once(trajectory, at, tuple(chosen)) for at, chosen in ((None, still), (time, moving)) if chosen]
        if len(parts) == 1:
            return parts[0]
        order = [(still + moving).index(c) for c in channels]
        return np.concatenate(parts)[order]

    def _read_once(self, trajectory: int, time: int | None, channels: tuple[int, ...]) -> np.ndarray:
        """Channels at one time, or of all times, as long as there is room for what was read."""
        key = trajectory, time, channels
        if key in self._kept:
            return self._kept[key]
        state = self._cells.read(self.dataset, trajectory, time or 0, channels)
        if state.nbytes <= self._room:
            self._room -= state.nbytes
            self._kept[key] = state
        return state


def open_pairs(
    path: str,
    spec: case.Dataset,
    grid: case.Grid | None,
    ranks: case.Ranks,
    comm: MPI.Intracomm,
    dtype: torch.dtype,
    like: Meaning | None = None,
    steps: int = 1,
    beside: Sequence[Samples] = (),
) -> StoredPairs:
    """Open a dataset and deal its grid, or its mesh, to the ranks.

    Parameters
    ----------
    path : str
        File or folder.
    spec : hpcml.core.case.Dataset
        What to pair, and memory.
    grid : hpcml.core.case.Grid, optional
        Says the extent and which dims are periodic where the file does not, and the cells of the data for training.
    ranks : hpcml.core.case.Ranks
        Process grid.
    comm : MPI.Intracomm
        All ranks.
    dtype : torch.dtype
        Of the fields in memory.
    like : Meaning, optional
        What the pairs must mean, at whatever resolution: it tells the names of the fields and the time from input to target.
    steps : int
        Targets of an input, at equal distances.
    beside : sequence of Samples
        Others of which some may lie on the same mesh: they then share one graph.

    Raises
    ------
    CheckpointError, ConfigError, TopologyError
        On every rank, for whatever is wrong with the file, does not go with the case, or means something else.

    Communication
    -------------
    Collective over comm.
    """
    dataset = open_layout(spec.layout, path, comm)
    space = dataset.description  # the same on every rank, and so is what is wrong with it
    try:
        space.check_filled()
        if grid is not None and not isinstance(space, OnMesh):
            space = with_grid(space, grid, path, any_cells=like is not None)
        meaning, stride = _paired(space, spec, path) if like is None else like.found_in(space, path)
        if like is not None:
            like.check(meaning)
            if not dataset.description.located and not isinstance(space, OnMesh):
                check_order_of_dims(like, space.grid_shape, path)
            space = replace(space, periodic=tuple(axis.boundary == "periodic" for axis in like.filled(meaning).axes))
    except ConfigError as error:
        raise error if str(error).startswith(path) else ConfigError(f"{path}: {error}") from None
    if space.num_times <= steps * stride:
        more = "a steady problem has data.stride = 0" if like is None else f"one step is {like.interval:.6g} in {like.source}"
        several = f" and training.steps = {steps}" if steps > 1 else ""
        needed = f"which need {steps * stride + 1}"
        raise ConfigError(f"{path} has {space.num_times} times, too few for pairs with data.stride = {stride}{several}, {needed}; {more}")
    if steps > 1 and (varying := [entry.name for entry in meaning.conditions if entry.varies_in_time]):
        raise ConfigError(
            f"{path}: data.inputs names {', '.join(varying)} after the targets, which vary in time, so that the model cannot go on from "
            f"what it predicts: make them targets too, or set training.steps = 1, got {steps}"
        )
    where: Space
    if isinstance(space, OnMesh):
        dealt = ((pairs.dataset.description.fingerprint, pairs.space) for pairs in beside if isinstance(pairs, StoredPairs))
        where = graph_of(Path(path), space, grid, ranks, comm, next((each for each in dealt if each[0] == space.fingerprint), None))
    else:
        where = domain_of(space.grid_shape, grid or _grid_of(space), ranks, comm)
    return StoredPairs(dataset, meaning, stride, where, dtype, spec.memory << 20, steps)


def _paired(space: Description, spec: case.Dataset, path: str) -> tuple[Meaning, int]:
    """What the case pairs of a dataset."""
    varying = tuple(entry.name for entry in space.fields if entry.varies_in_time)
    steady = tuple(entry.name for entry in space.fields if not entry.varies_in_time)
    targets, inputs = spec.targets or varying, spec.inputs or (varying if spec.stride else steady)
    if not inputs or not targets:
        kind = "vary in time" if spec.stride or not targets else "are constant in time"
        raise ConfigError(f"the dataset has no fields that {kind}: name data.inputs and data.targets")
    return Meaning.of_pairs(space, inputs, targets, spec.stride, path), spec.stride


def _grid_of(space: Description) -> case.Grid:
    """The file's own grid; a dim of which nothing is known is not periodic."""
    return case.Grid(shape=space.grid_shape, extent=space.extent, periodic=tuple(bool(closed) for closed in space.periodic))
