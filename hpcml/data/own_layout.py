"""Datasets in the layout that a case names: a known one, or a class of one's own that says what is there and reads a state."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from mpi4py import MPI

from hpcml.core.errors import CheckpointError, ConfigError, HpcmlError, ShapeError
from hpcml.core.options import Choice
from hpcml.core.registry import BUILT_IN, load
from hpcml.io.dataset import Dataset, Description, open_dataset
from hpcml.mpi.agreement import agree_on_error
from hpcml.mpi.patient_comm import patient
from hpcml.topology.block import BlockRange


class Reader(Protocol):
    """What a layout makes of a path."""

    description: Description
    """The index space: trajectories, times, fields, grid; the same on every rank."""

    def read(self, trajectory: int, time: int, cells: tuple[slice, ...]) -> Any:
        """State at one time, (channel, *cells), all channels in the order of the description; only these cells need be read."""


class OwnDataset(Dataset):
    """A dataset that a user's `Reader` reads.

    Parameters
    ----------
    name : str
        Of the layout.
    path : str
        What is read.
    reader : Reader
        On this rank. Its method ``close`` is called in the end, if it has one.

    Communication
    -------------
    Local.
    """

    def __init__(self, name: str, path: str, reader: Reader) -> None:
        super().__init__(name, reader.description, ())
        self._path, self._reader, self._read_bytes, self._item = path, reader, 0, 4

    @property
    def bytes_read(self) -> int:
        return self._read_bytes

    @property
    def num_bytes(self) -> int:
        space = self.description
        return space.num_trajectories * space.num_times * len(space.channels) * int(np.prod(space.grid_shape)) * self._item

    def read(
        self, trajectory: int, times: range | None = None, block: Sequence[BlockRange] | None = None, channels: Sequence[int] | None = None
    ) -> np.ndarray:
        times, block = self._checked(trajectory, times, block)
        expected = (len(self.description.channels), *(r.size for r in block))
        states = [self._state(trajectory, time, block, expected) for time in times]
        values = np.stack(states) if states else np.empty((0, *expected), np.float32)
        return values if channels is None else values[:, list(channels)]

    def close(self) -> None:
        if callable(close := getattr(self._reader, "close", None)):
            close()

    def _state(self, trajectory: int, time: int, block: Sequence[BlockRange], expected: tuple[int, ...]) -> np.ndarray:
        where = f"{self.layout!r} reads trajectory {trajectory}, time {time} of {self._path}"
        try:
            state = np.asarray(self._reader.read(trajectory, time, tuple(slice(r.start, r.stop) for r in block)))
        except HpcmlError:
            raise
        except Exception as error:  # whatever the user's reader meets
            raise CheckpointError(f"{where}: {type(error).__name__}: {error}") from error
        if state.shape != expected or state.dtype.kind not in "biuf":
            raise ShapeError(f"{where} as {state.dtype} of {state.shape}: expected real numbers (channel, *cells) of {expected}")
        state = state.astype(np.result_type(np.float32, state.dtype), copy=False)
        self._read_bytes, self._item = self._read_bytes + state.nbytes, state.itemsize
        return state


def open_layout(choice: Choice | None, path: str, comm: MPI.Intracomm) -> Dataset:
    """Open a dataset in the layout that a case names; without one files say themselves which of the known ones they have.

    Parameters
    ----------
    choice : Choice, optional
        A known layout, or name and options of a class or function, which is called with ``path`` and the options and gives a `Reader`.
    path : str
        As the case has it.
    comm : MPI.Intracomm
        All ranks that want it; each has a reader of its own.

    Raises
    ------
    ConfigError, CheckpointError
        On every rank: there is no such layout, the files have another, it cannot open the path, or says nothing of what is there, or not
        the same on all ranks.

    Communication
    -------------
    Collective over comm: one broadcast; later reads are local.
    """
    if choice is None or choice.name in BUILT_IN["layout"]:
        dataset = open_dataset(path, comm)
        if choice is not None and dataset.layout != choice.name:
            raise ConfigError(f"{path} is of the layout {dataset.layout}, not data.layout = {choice.name!r}: leave data.layout out")
        return dataset
    reader: Any = None
    error: Exception | None = None
    try:
        reader = load("layout", choice.name)(path=path, **choice.options)
        if not isinstance(getattr(reader, "description", None), Description) or not callable(getattr(reader, "read", None)):
            raise ConfigError(
                f"data.layout = {choice.name!r} makes {type(reader).__name__}: expected an attribute description, which is a "
                "hpcml.io.dataset.Description, and a method read(trajectory, time, cells)"
            )
    except HpcmlError as caught:
        error = caught
    except Exception as caught:
        error = CheckpointError(f"data.layout = {choice.name!r} cannot open {path}: {type(caught).__name__}: {caught}")
    agree_on_error(error, comm)
    if patient(comm).bcast(reader.description) != reader.description:
        error = CheckpointError(f"data.layout = {choice.name!r} describes {path} otherwise than on rank 0: say the same on every rank")
    agree_on_error(error, comm)
    return OwnDataset(choice.name, path, reader)
