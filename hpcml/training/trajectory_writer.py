"""Trajectories on a domain as snapshots that h5py, xarray and ParaView read."""

import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from torch import Tensor

from hpcml.core.case import Case, Simulation
from hpcml.core.config import to_toml
from hpcml.fields.domain import Domain
from hpcml.io import Compression, Field, Series, SnapshotWriter, UniformGrid


class TrajectoryWriter:
    """Writes states of several trajectories side by side, with the case that they are of.

    Parameters
    ----------
    path : Path
        ``NAME.h5``; what was there before is replaced.
    case : Case
        Equation, time between two states, and how to write: its table ``[snapshots]``.
    domain : Domain
        Where states live, all ranks in one group.
    channels : mapping of str to str
        Variables to write, and the channel of the equation that each shows.
    num_samples : int
        Trajectories.

    Raises
    ------
    ConfigError, CheckpointError
        As `SnapshotWriter`.

    Communication
    -------------
    Collective over domain.comm, as `SnapshotWriter`.
    """

    def __init__(self, path: Path, case: Case, domain: Domain, channels: Mapping[str, str], num_samples: int) -> None:
        assert isinstance(case.data, Simulation) and case.equation is not None
        settings, self._data = case.snapshots, case.data
        self._dtype = case.training.dtype
        fields = [Field(name, settings.units.get(of, ""), (("sample", num_samples),), self._dtype) for name, of in channels.items()]
        series = Series(
            UniformGrid(domain.global_shape, domain.grid.extent, domain.block),
            fields,
            settings.units.get("time", ""),
            settings.units.get("length", ""),
            {"equation": case.equation.name, "case": to_toml(case)},
        )
        compression = None if settings.error_bound is None else Compression(settings.compression, settings.error_bound)
        self._writer = SnapshotWriter(path, series, domain.comm, compression=compression)

    def write(self, step: int, values: Mapping[str, Tensor]) -> None:
        """Write state number ``step``: (sample, *local_shape) of each variable.

        Communication
        -------------
        Collective.
        """
        first = math.ceil(self._data.spin_up / self._data.interval) * self._data.interval
        self._writer.append(first + step * self._data.interval, {name: value.cpu() for name, value in values.items()})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._writer.__exit__(kind, error, trace)
