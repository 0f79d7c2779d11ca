"""Write the fields of a running simulation, step by step, so that nothing acknowledged is ever lost."""

import math
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from unicodedata import category

import h5py
import numpy as np
from mpi4py import MPI

from hpcml.core.errors import CheckpointError, ConfigError, ShapeError
from hpcml.io.files.agree import together
from hpcml.io.files.lock import FolderLock
from hpcml.io.snapshot.compression import Compression
from hpcml.io.snapshot.rank_file import RankFile
from hpcml.io.snapshot.segment import Segment
from hpcml.io.snapshot.series import Series
from hpcml.io.snapshot.snapshot_file import SnapshotFile
from hpcml.io.snapshot.step_file import StepFiles
from hpcml.io.snapshot.view import parts_folder, read_view, write_view
from hpcml.io.snapshot.xdmf import XdmfFile
from hpcml.mpi.call import named_call
from hpcml.mpi.launcher_watch import watch_launcher
from hpcml.mpi.patient_comm import patient


class SnapshotWriter:
    """Appends steps to ``NAME.h5``, for h5py, xarray and, with ``NAME.xdmf``, ParaView, while they are written and after.

        append:  each rank checks and writes its block  ->  all agree  ->  rank 0 lets the view NAME.h5 show the step  ->  all agree

    A step that `append` returned from is acknowledged: the death of any process, at any moment, does not lose it. A step that is not
    acknowledged is not in the view, so no reader sees a part of one.

    Parameters
    ----------
    path : pathlib.Path or str
        ``NAME.h5``; the values go to ``NAME.parts/``.
    series : Series
        Geometry, fields, attributes; the same on all ranks but for this rank's place in the geometry.
    comm : mpi4py.MPI.Intracomm
        Ranks whose blocks make up the geometry.
    compression : Compression, optional
        Of all fields, in files per rank.
    layout : str
        ``ranks``: one file per rank, appended; ``steps``: one file per step, which all ranks write together, for which h5py must have been
        built with MPI: fewer files and a smaller view where there are more ranks than steps.
    after : float
        Steps of an earlier writer up to this time are kept and gone on from, on any number of ranks; the others go when the first new one
        is acknowledged. By default none is kept.

    Raises
    ------
    ConfigError
        For a layout or a name that cannot be.
    CheckpointError
        On every rank, where files cannot be read or written, the earlier steps are of other fields, or another job writes there.

    Communication
    -------------
    Collective over comm: making it, three agreements per step (the step is checked, written, shown), closing it.

    Notes
    -----
    Read the file from another process: HDF5 in the process that writes it marks it again, until the next step, as open for nobody else.
    Memory is one copy of the rank's block of one field, some more to compress it. Until `close` returns, steps survive the death of
    processes, not that of the machine. The view has one entry per field and rank (``ranks``) or per field and step (``steps``), so a step
    of very many ranks costs rank 0 some 60 µs for each.

    Examples
    --------
    >>> import tempfile
    >>> from hpcml.io import Field, Series, UniformGrid
    >>> path = Path(tempfile.mkdtemp()) / "run.h5"
    >>> series = Series(UniformGrid.dealt((4, 6), (1.0, 1.5)), [Field("u", "m/s")], time_units="s")
    >>> with SnapshotWriter(path, series, MPI.COMM_SELF) as snapshots:
    ...     snapshots.append(0.0, {"u": np.ones((4, 6))})
    >>> sorted(p.name for p in path.parent.iterdir())
    ['run.h5', 'run.parts', 'run.xdmf']
    """

    @named_call
    def __init__(
        self,
        path: Path | str,
        series: Series,
        comm: MPI.Intracomm,
        *,
        compression: Compression | None = None,
        layout: Literal["ranks", "steps"] = "ranks",
        after: float = -math.inf,
    ) -> None:
        comm = patient(comm)
        watch_launcher()  # without it nobody may ever end this process, which has the file
        self.path, self._series, self._comm = Path(path), series, comm
        _check_layout(layout, compression, comm)
        _check_name(self.path.name)
        self._places = comm.gather(series.places())
        self._lock: FolderLock | None = None
        self._xdmf: XdmfFile | None = None
        self._times: list[float] = []
        self._kept: dict[str, list[Segment]] = {}
        self._session = comm.bcast(secrets.token_hex(3))
        try:
            self._part = self._open(after, layout, compression)
        except BaseException:
            self._release()
            raise

    @property
    def times(self) -> tuple[float, ...]:
        """Time of each acknowledged step."""
        return tuple(self._times)

    @named_call
    def append(self, time: float, values: Mapping[str, Any]) -> None:
        """Write one step of all fields and acknowledge it.

        Parameters
        ----------
        time : float
            Later than that of the step before.
        values : mapping of str to array or Tensor
            This rank's block of every field, (*leading, *block in the order of memory), on the CPU.

        Raises
        ------
        ConfigError, ShapeError
            On every rank, for a time that is not later, a field too many or too few, or of another shape.
        CheckpointError
            On every rank, where the step cannot be written, for example because the disk is full; the steps before stay as they are.

        Communication
        -------------
        Collective: three agreements of 24 bytes; data only with the layout ``steps``.
        """
        with together(self._comm, f"checking snapshot {len(self._times)}"):
            arrays = self._checked(time, values)
        with together(self._comm, f"writing snapshot {len(self._times)} to {parts_folder(self.path)}"):
            self._part.write(len(self._times) - self._first, arrays)
        self._times.append(float(time))
        try:
            with together(self._comm, f"acknowledging snapshot {len(self._times) - 1} in {self.path}"):
                if self._comm.rank == 0:
                    self._show(complete=False)
        except BaseException:
            self._times.pop()
            raise

    @named_call
    def close(self) -> None:
        """Close the files, force them to the disk, and mark the view as complete.

        Communication
        -------------
        Collective over the ranks.
        """
        try:
            with together(self._comm, f"closing the snapshots {self.path}"):
                self._part.close()
            with together(self._comm, f"completing {self.path}"):
                if self._comm.rank == 0 and len(self._times) > self._first:
                    self._show(complete=True)
        finally:
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.close()
            return
        with suppress(OSError, RuntimeError):  # what went wrong is on its way already, and other ranks may not come here
            self._part.close()
        self._release()

    def _open(self, after: float, layout: str, compression: Compression | None) -> StepFiles | RankFile:
        comm, parts = self._comm, parts_folder(self.path)
        with together(comm, f"opening the snapshots {self.path}"):
            if comm.rank == 0:
                self._lock = FolderLock(parts)
                self._keep(after)
        self._times = comm.bcast(self._times)
        self._first = len(self._times)
        with together(comm, f"comparing the mesh in {self.path}"):
            if self._times:
                self._compare_mesh()
        with together(comm, f"making the snapshot files in {parts}"):
            if layout == "steps":
                return StepFiles(parts, self._session, comm, self._series)
            return RankFile(parts, self._session, comm.rank, self._series, compression)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _keep(self, after: float) -> None:
        """Find out which steps of an earlier writer stay."""
        if after == -math.inf or not self.path.exists():
            return
        view = read_view(self.path)
        wholes = self._series.wholes()
        mine = {field.name: (wholes[field.name], field.dtype) for field in self._series.fields}
        mine |= {name: (wholes[name], str(part.dtype)) for name, (_, part) in self._series.geometry.arrays().items()}
        theirs = {name: (variable.shape[1:], str(variable.dtype)) for name, variable in view.variables.items()}
        theirs |= {name: (variable.shape, str(variable.dtype)) for name, variable in view.mesh.items()}
        if mine != theirs:
            raise CheckpointError(f"{self.path} holds {theirs}, this run writes {mine}: choose another file, or keep nothing of it")
        self._times = [float(time) for time in view.times if time <= after]
        steps = len(self._times)
        for name, variable in view.variables.items():
            parts = [part for part in variable.segments if part.offset[0] < steps]
            counts = [min(part.shape[0], steps - part.offset[0]) for part in parts]
            self._kept[name] = [replace(part, shape=(count, *part.shape[1:])) for part, count in zip(parts, counts, strict=True)]

    def _compare_mesh(self) -> None:
        """Refuse to go on with values on other points or cells than those of the steps that are kept."""
        kept = SnapshotFile(self.path)
        for name, (location, part) in self._series.geometry.arrays().items():
            box = [slice(start, start + size) for start, size in zip(location.offset, location.local_shape, strict=True)]
            if not np.array_equal(kept.read(name, box), part):
                raise CheckpointError(
                    f"{self.path} holds steps on another mesh, {name} differs: number points and cells as before on any number of ranks, "
                    "choose another file, or keep nothing of it"
                )

    def _checked(self, time: float, values: Mapping[str, Any]) -> dict[str, np.ndarray]:
        if not math.isfinite(time) or (self._times and time <= self._times[-1]):
            last = self._times[-1] if self._times else -math.inf
            raise ConfigError(f"snapshots come in the order of time: expected a time after {last}, got {time}")
        expected = {field.name: field for field in self._series.fields}
        if set(values) != set(expected):
            raise ConfigError(f"a snapshot of {self.path} has the fields {sorted(expected)}, got {sorted(values)}")
        arrays, places = {}, self._series.places()
        for name, field in expected.items():
            array, block = np.asarray(values[name]), places[name][1]
            if array.ndim != len(block) or self._series.geometry.stored(array).shape != block:
                raise ShapeError(
                    f"{name} on rank {self._comm.rank}: expected {tuple(size for _, size in field.leading)} and then a block that is "
                    f"{self._series.location(field).local_shape} in the order {self._series.location(field).dims}, got an array of shape "
                    f"{array.shape}"
                )
            arrays[name] = array
        return arrays

    def _show(self, complete: bool) -> None:
        """Replace the view; on one rank."""
        assert self._places is not None
        new = self._part.segments(self._first, len(self._times) - self._first, self._places)
        segments = {name: self._kept.get(name, []) + parts for name, parts in new.items()}
        write_view(self.path, self._series, self._times, segments, complete)
        if self._xdmf is None:
            self._xdmf = XdmfFile(self.path.with_suffix(".xdmf"), self.path.name, self._series, self._times)
            used = {part.file for parts in self._kept.values() for part in parts}
            for old in parts_folder(self.path).glob("*-*"):
                if not old.name.startswith(self._session) and old.name not in used:
                    with suppress(OSError):  # a folder, for instance, is not ours
                        old.unlink()
        elif not complete:
            self._xdmf.extend(len(self._times) - 1, self._times[-1])


def _check_name(name: str) -> None:
    """Refuse a file name that could not stand in the XML beside it."""
    if any(category(character) in ("Cc", "Cs") for character in name):
        raise ConfigError(f"snapshots cannot be named {name!r}: expected a name in UTF-8 without control characters")


def _check_layout(layout: str, compression: Compression | None, comm: MPI.Intracomm) -> None:
    if layout not in ("ranks", "steps"):
        raise ConfigError(f"the layout of snapshots is ranks or steps, got {layout!r}")
    if layout == "steps" and comm.size > 1 and not h5py.get_config().mpi:
        raise ConfigError(f"one file per step from {comm.size} ranks needs an h5py built with MPI: take layout='ranks'")
    if layout == "steps" and compression:
        raise ConfigError("compressed snapshots are written per rank: take layout='ranks'")
