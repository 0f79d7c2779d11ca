"""Trajectories on a grid or a mesh as snapshots that h5py, xarray and ParaView read."""

from collections.abc import Mapping, Set
from pathlib import Path
from types import TracebackType
from typing import Self

from torch import Tensor

from hpcml.core.case import Case
from hpcml.core.config import to_toml
from hpcml.fields.domain import Domain
from hpcml.graphs.graph import Graph
from hpcml.io import Compression, Field, Geometry, Series, SnapshotWriter, UniformGrid
from hpcml.mpi.host_copy import to_host
from hpcml.parallel.space import Space


def grid_geometry(domain: Domain) -> UniformGrid:
    """Block of a grid, as files show it."""
    return UniformGrid(domain.global_shape, domain.grid.extent, domain.block)


class TrajectoryWriter:
    """Writes states of several trajectories side by side, with the case that they are of.

    Particles, the nodes of a graph without edges that have the channels ``position_0``, ``position_1`` and so on, are shown in each step
    where these say.

    Parameters
    ----------
    path : Path
        ``NAME.h5``; what was there before is replaced.
    case : Case
        Stored with the states; its table ``[snapshots]`` says how to write.
    geometry : Geometry
        Where this rank's values lie.
    space : Domain or Graph
        The same on all ranks.
    channels : mapping of str to str
        Variables to write, and the channel that each shows; the name of a variable ends with that of its channel.
    num_samples : int
        Trajectories.

    Raises
    ------
    ConfigError, CheckpointError
        As `SnapshotWriter`.

    Communication
    -------------
    Collective over space.comm, as `SnapshotWriter`.
    """

    def __init__(self, path: Path, case: Case, geometry: Geometry, space: Space, channels: Mapping[str, str], num_samples: int) -> None:
        settings, equation = case.snapshots, {} if case.equation is None else {"equation": case.equation.name}
        positions, leading = _positions(space, set(channels.values())), (("sample", num_samples),)
        places = {name: tuple(name.removesuffix(of) + position for position in positions) for name, of in channels.items()}
        fields = [
            Field(name, settings.units.get(of, ""), leading, case.training.dtype, coordinates=places[name]) for name, of in channels.items()
        ]
        series = Series(
            geometry,
            fields,
            settings.units.get("time", ""),
            settings.units.get("length", ""),
            {**equation, "case": to_toml(case)},
        )
        compression = None if settings.error_bound is None else Compression(settings.compression, settings.error_bound)
        self._writer = SnapshotWriter(path, series, space.comm, compression=compression)

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


def _positions(space: Space, channels: Set[str]) -> tuple[str, ...]:
    """Channels that say where particles are; none of a grid or a mesh."""
    if not isinstance(space, Graph) or space.num_edges_global:
        return ()
    positions = tuple(f"position_{d}" for d in range(space.positions.shape[1]))
    return positions if channels >= set(positions) else ()
