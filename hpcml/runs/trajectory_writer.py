"""Trajectories on a grid or a mesh as snapshots that h5py, xarray and ParaView read."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from mpi4py import MPI
from torch import Tensor

from hpcml.core.case import Case
from hpcml.core.config import to_toml
from hpcml.fields.domain import Domain
from hpcml.io import Compression, Field, Geometry, Series, SnapshotWriter, UniformGrid
from hpcml.mpi.host_copy import to_host


def grid_geometry(domain: Domain) -> UniformGrid:
    """Block of a grid, as files show it."""
    return UniformGrid(domain.global_shape, domain.grid.extent, domain.block)


class TrajectoryWriter:
    """Writes states of several trajectories side by side, with the case that they are of.

    Parameters
    ----------
    path : Path
        ``NAME.h5``; what was there before is replaced.
    case : Case
        Stored with the states; its table ``[snapshots]`` says how to write.
    geometry : Geometry
        Where this rank's values lie.
    comm : MPI.Intracomm
        All ranks.
    channels : mapping of str to str
        Variables to write, and the channel that each shows.
    num_samples : int
        Trajectories.

    Raises
    ------
    ConfigError, CheckpointError
        As `SnapshotWriter`.

    Communication
    -------------
    Collective over comm, as `SnapshotWriter`.
    """

    def __init__(
        self, path: Path, case: Case, geometry: Geometry, comm: MPI.Intracomm, channels: Mapping[str, str], num_samples: int
    ) -> None:
        settings, equation = case.snapshots, {} if case.equation is None else {"equation": case.equation.name}
        fields = [Field(name, settings.units.get(of, ""), (("sample", num_samples),), case.training.dtype) for name, of in channels.items()]
        series = Series(
            geometry,
            fields,
            settings.units.get("time", ""),
            settings.units.get("length", ""),
            {**equation, "case": to_toml(case)},
        )
        compression = None if settings.error_bound is None else Compression(settings.compression, settings.error_bound)
        self._writer = SnapshotWriter(path, series, comm, compression=compression)

    def write(self, time: float, values: Mapping[str, Tensor]) -> None:
        """Write one state: (sample, *this rank's points) of each variable.

        Communication
        -------------
        Collective.
        """
        self._writer.append(time, dict(zip(values, to_host(*values.values()), strict=True)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._writer.__exit__(kind, error, trace)
