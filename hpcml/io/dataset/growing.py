"""A dataset file that is made trajectory by trajectory, through any number of interruptions."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

import numpy as np
from mpi4py import MPI

from hpcml.core.errors import CheckpointError, ConfigError
from hpcml.core.regular import open_regular, read_regular
from hpcml.io.dataset.dataset import Dataset, open_dataset
from hpcml.io.dataset.description import Description
from hpcml.io.dataset.layouts import create_file
from hpcml.io.dataset.mesh_rows import MeshRows, check_mesh, write_rows
from hpcml.io.files.confined_file import ConfinedFile
from hpcml.io.files.lock import FolderLock
from hpcml.io.files.remedy import remedy
from hpcml.io.files.replace import sync_folder, write_file
from hpcml.mpi.agreement import raise_together
from hpcml.mpi.call import named_call
from hpcml.mpi.launcher_watch import watch_launcher
from hpcml.mpi.patience import lenient
from hpcml.mpi.patient_comm import patient
from hpcml.topology.block import BlockRange

ORIGIN = "hpcml_case"
"""Attribute that says what the values were computed from."""
_DONE, _MISSING = b"x", b"."
_MOST_OF_OTHERS = 1 << 24
"""Bytes by which the progress of other data may be longer."""


class GrowingDataset:
    """A file that appears under its name once every trajectory is in it.

    Until then there are ``NAME.partial``, whole in structure from the beginning, and ``NAME.progress``: one line of JSON that says what the
    file is of, and then one character for each trajectory, ``x`` if it is complete and on the disk.

    Parameters
    ----------
    path : Path
        The file.
    description : Description
        Its index space.
    origin : str
        What the values are computed from; goes into the file. Work that an interruption left is gone on with only if it has the same.
    comm : MPI.Intracomm
        All ranks that write.
    layout : str
        ``the-well``, ``pdebench``, ``pdebench-groups`` or ``mesh``.
    work : Path, optional
        Folder for what is unfinished, removed in the end; `origin` is then kept there and does not go into the file. By default all is
        beside the file.
    mesh : MeshRows, optional
        This rank's rows of the mesh that the fields lie on.

    Attributes
    ----------
    missing : list of int
        Trajectories that are not complete; empty if the file already was.

    Raises
    ------
    ConfigError
        On every rank: file or unfinished work of another origin, or a layout that cannot hold it.
    CheckpointError
        On every rank: the file cannot be made, or another job makes it.

    Communication
    -------------
    Collective over comm to begin and, as a context manager, to end. In between ranks write on their own.

    Notes
    -----
    If an exception ends the block, the unfinished work stays for the next time.
    """

    @named_call
    def __init__(
        self,
        path: Path,
        description: Description,
        origin: str,
        comm: MPI.Intracomm,
        layout: str = "the-well",
        work: Path | None = None,
        mesh: MeshRows | None = None,
    ) -> None:
        comm = patient(comm)
        watch_launcher()  # without it nobody may ever end this process, which has the file
        self._path, self._comm, self._layout, self._work = path, comm, layout, work
        self._partial, self._progress = ((work or path.parent) / f"{path.name}{suffix}" for suffix in (".partial", ".progress"))
        self._head = json.dumps({"format_version": 1, "origin": origin}).encode() + b"\n"
        self._count = description.num_trajectories
        self._lock: FolderLock | None = None
        self._dataset: Dataset | None = None
        missing: list[int] = []
        try:
            check_mesh(layout, mesh, comm)
            with raise_together(comm):
                if comm.rank == 0:
                    missing = self._begin(description, origin)
            self.missing = comm.bcast(missing)
            if self.missing:
                if mesh is not None:
                    write_rows(self._partial, mesh, comm)
                self._dataset = open_dataset(self._partial, comm, writable=True)
        except BaseException:
            self._unlock()
            raise

    def __reduce__(self) -> NoReturn:
        raise TypeError("a dataset that is being made belongs to its processes: open it by its path elsewhere, once it is complete")

    def write(self, trajectory: int, first_time: int, values: np.ndarray, block: Sequence[BlockRange] | None = None) -> None:
        """Put this rank's cells of some times in their place, as `Dataset.write`."""
        assert self._dataset is not None
        self._dataset.write(trajectory, first_time, values, block)

    @named_call
    def finish(self, trajectory: int, comm: MPI.Intracomm) -> None:
        """Say that a trajectory is complete.

        Communication
        -------------
        Collective over comm, the ranks that wrote it: each forces its part to the disk, then one notes it.
        """
        assert self._dataset is not None
        with raise_together(comm):
            self._dataset.sync()
        with raise_together(comm):
            if comm.rank == 0:
                self._mark(trajectory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if self._dataset is not None:
                self._dataset.close()
                if kind is None:
                    with lenient():  # others may simulate for hours yet
                        self._comm.Barrier()  # until every rank has noted what it finished
                    with raise_together(self._comm):
                        if self._comm.rank == 0:
                            self._commit()
        finally:
            self._unlock()

    def _begin(self, description: Description, origin: str) -> list[int]:
        try:
            self._lock = FolderLock(self._work or self._path.parent)
            if self._path.exists():
                self._check_origin(origin)
                self._progress.unlink(missing_ok=True)
                return []
            if not self._progress.exists():
                self._partial.unlink(missing_ok=True)
                attributes = {ORIGIN: origin} if self._work is None else {}
                create_file(self._partial, self._layout, description, **attributes)
                self._sync_partial()
                write_file(self._progress, self._head + _MISSING * self._count)
            text = self._marks()
        except OSError as error:
            raise CheckpointError(f"cannot make {self._path}: {error}{remedy(error.errno)}") from None
        if not text.startswith(self._head) or not self._partial.exists():
            raise ConfigError(
                f"{self._progress} is of unfinished data of another case: go on with that one, remove {self._partial.name} and "
                f"{self._progress.name}, or choose another place"
            )
        missing = self._unfinished(text)
        if not missing:  # it ended between the last trajectory and the file's name
            self._commit()
        return missing

    def _mark(self, trajectory: int) -> None:
        try:
            with os.fdopen(open_regular(self._progress, os.O_RDWR), "r+b", buffering=0) as marks:
                marks.seek(len(self._head) + trajectory)
                marks.write(_DONE)
        except OSError as error:
            raise CheckpointError(f"cannot write {self._progress}: {error}{remedy(error.errno)}") from None

    def _check_origin(self, origin: str) -> None:
        """Accept a file that is complete only if it is what would be made."""
        if self._work is not None:
            if not self._progress.exists() or not self._marks().startswith(self._head):
                raise ConfigError(f"{self._path} exists already: remove it, or choose another name")
            return
        with ConfinedFile(self._path, locking=False) as file:
            if file.attrs.get(ORIGIN) != origin:
                raise ConfigError(f"{self._path} holds data of another case: remove it, or choose another folder with --out")

    def _marks(self) -> bytes:
        """What the progress file says, be it of this data or other; a pipe in its place is not waited for."""
        return read_regular(self._progress, len(self._head) + self._count + _MOST_OF_OTHERS)

    def _unfinished(self, text: bytes) -> list[int]:
        marks = text[len(self._head) :]
        return [number for number in range(self._count) if marks[number : number + 1] != _DONE]

    def _commit(self) -> None:
        try:
            if unfinished := self._unfinished(self._marks()):
                raise CheckpointError(f"{self._path} lacks trajectories {unfinished}: finish them before the file is closed")
            self._sync_partial()
            self._partial.replace(self._path)
            self._progress.unlink()
            sync_folder(self._path.parent)
        except OSError as error:
            raise CheckpointError(f"cannot finish {self._path}: {error}{remedy(error.errno)}") from None

    def _sync_partial(self) -> None:
        descriptor = open_regular(self._partial)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _unlock(self) -> None:
        if self._lock is not None:
            if self._work is not None and not self._progress.exists():
                shutil.rmtree(self._work, ignore_errors=True)
            self._lock.close()
            self._lock = None
