"""Save the whole state of a run while it goes on, and get it back after whatever ended it."""

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from mpi4py import MPI

import hpcml
from hpcml.core.errors import CheckpointError
from hpcml.io.checkpoint import catalog
from hpcml.io.checkpoint.agreement import together
from hpcml.io.checkpoint.durable import checksums, write_bytes, write_record
from hpcml.io.checkpoint.image import Image, to_json
from hpcml.io.checkpoint.layout import Layout, agree_layout
from hpcml.io.checkpoint.lock import FolderLock
from hpcml.io.checkpoint.placement import Rows
from hpcml.io.checkpoint.restored import Restored, restore
from hpcml.io.checkpoint.state import FlatState, flatten


class Checkpointer:
    """Saves the state of a run into a folder.

    Parameters
    ----------
    folder : str or pathlib.Path
        Where the run keeps its checkpoints; one job at a time writes there.
    comm : mpi4py.MPI.Comm
        The ranks of the run. It is cloned: saving never disturbs other messages.
    keep : int
        Complete checkpoints that stay; older ones are removed.

    Raises
    ------
    CheckpointError
        On every rank: the folder is in use by another job, or cannot be written.

    Communication
    -------------
    Collective to make, `save`, `wait`, `restore` and `close`.

    Notes
    -----
    A state is a mapping of tensors, arrays, None, bool, int, float, str, bytes and mappings, lists and tuples of them. Arrays are the
    same on every rank, and written once, unless they are marked as `Blocked` or `Rows`; plain values are those of rank 0.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, Checkpointer(folder, MPI.COMM_SELF) as checkpointer:
    ...     checkpointer.save(7, {"w": np.arange(3.0), "epoch": 1})
    ...     checkpointer.wait()
    ...     restored = checkpointer.restore()
    >>> restored.step, restored.state["w"].tolist(), restored.state["epoch"]
    (7, [0.0, 1.0, 2.0], 1)
    """

    def __init__(self, folder: str | Path, comm: MPI.Comm, *, keep: int = 2) -> None:
        if keep < 1:
            raise CheckpointError(f"keep must be at least 1, got {keep}: the newest checkpoint always stays")
        self.folder = Path(folder)
        self._keep = keep
        self._comm = comm.Dup()
        self._registered: dict[str, tuple[Callable[[], Any], Callable[[Any], None]]] = {}
        self._layout: Layout | None = None
        self._image: Image | None = None
        self._saved_step: int | None = None
        self._damaged: set[Path] = set()
        self._lock: FolderLock | None = None
        start: tuple[str, int] | None = None
        with together(self._comm, f"opening {self.folder} for checkpoints"):
            if self._comm.rank == 0:
                self._lock = FolderLock(self.folder)
                found = catalog.survey(self.folder)
                for path in found.unfinished:
                    catalog.remove(path)
                start = secrets.token_hex(3), found.complete[0].sequence if found.complete else 0
        self._session, self._sequence = self._comm.bcast(start)

    def __enter__(self) -> "Checkpointer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.wait()
        self.close()

    def register(self, name: str, get_state: Callable[[], Any], set_state: Callable[[Any], None]) -> None:
        """Make something part of every checkpoint.

        Parameters
        ----------
        name : str
            Its key in the state.
        get_state : callable
            Returns its state, such as ``model.state_dict``; called by `save`, and by `restore` for the layout of this run.
        set_state : callable
            Takes the restored state, such as ``model.load_state_dict``.
        """
        if name in self._registered:
            raise CheckpointError(f"{name!r} is registered already: choose another name")
        self._registered[name] = get_state, set_state

    def save(self, step: int, state: Mapping[str, Any] | None = None) -> None:
        """Save the state after a step; the same step is saved only once.

        Parameters
        ----------
        step : int
            Step that the state is the result of.
        state : mapping, optional
            What to save; by default everything registered. It must not change while this runs.

        Raises
        ------
        CheckpointError
            On every rank: the state cannot be stored, or the last save could not be written. What was complete still is.

        Communication
        -------------
        Collective: a reduction of 8 bytes, more when the shape of the state changes.
        """
        if step == self._saved_step:
            return
        with together(self._comm, "collecting the state"):
            flat = flatten(self._collect() if state is None else state)
        self._prepare(flat, step)
        assert self._image is not None and self._layout is not None
        self._image.fill(self._values(flat, step), flat.leaves, self._layout.origins)
        self._write(step)
        self._saved_step = step

    def before_update(self) -> None:
        """Wait until the last save has its copy: call before parameters change."""

    def wait(self) -> None:
        """Wait until the last save is complete on disk.

        Raises
        ------
        CheckpointError
            On every rank, if it could not be written.

        Communication
        -------------
        Collective.
        """

    def latest(self) -> int | None:
        """Step of the newest complete checkpoint on disk; None where there is none.

        Communication
        -------------
        Collective: rank 0 looks and tells the others.
        """
        found = catalog.survey(self.folder).complete if self._comm.rank == 0 else []
        return self._comm.bcast(found[0].step if found else None)

    def restore(self, like: Mapping[str, Any] | None = None, *, step: int | None = None) -> Restored | None:
        """Restore the newest whole checkpoint, and hand what is registered its state.

        Parameters
        ----------
        like : mapping, optional
            A state of this run: its `Blocked` entries say which box each rank wants. By default the state of what is registered; without
            either every rank gets whole arrays.
        step : int, optional
            Restore this step instead of the newest.

        Returns
        -------
        Restored or None
            None where there is no checkpoint.

        Raises
        ------
        CheckpointError
            On every rank: none is whole, or it is of another model.

        Communication
        -------------
        Collective, see `hpcml.io.restore`.
        """
        if like is None and self._registered:
            with together(self._comm, "collecting the state"):
                like = self._collect()
        restored = restore(self.folder, self._comm, like=like, step=step)
        if restored is not None:
            self._damaged.update(restored.skipped)
            self._hand_out(restored)
        return restored

    def close(self) -> None:
        """Give back memory, lock and communicator; a save that is under way is finished first.

        Communication
        -------------
        Collective.
        """
        if self._image is not None:
            self._image.close()
            self._image = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        if self._comm != MPI.COMM_NULL:
            self._comm.Free()

    def _collect(self) -> dict[str, Any]:
        return {name: get_state() for name, (get_state, _) in self._registered.items()}

    def _hand_out(self, restored: Restored) -> None:
        for name, (_, set_state) in self._registered.items():
            with together(self._comm, f"{restored.path}: restoring {name!r}"):
                if name not in restored.state:
                    raise CheckpointError(f"{restored.path} holds no {name!r}; it holds {', '.join(restored.state)}: it is of another run")
                set_state(restored.state[name])

    def _prepare(self, flat: FlatState, step: int) -> None:
        """Have a layout and an image that the state fits, on every rank."""
        changed = np.array(self._layout is None or not self._layout.fits(flat))
        self._comm.Allreduce(MPI.IN_PLACE, changed, op=MPI.LOR)
        if changed:
            self._layout = agree_layout(flat, self._comm)
        assert self._layout is not None
        needed = len(self._values(flat, step))
        if changed or self._image is None or needed > self._image.values_capacity:
            if self._image is not None:
                self._image.close()
            self._image = Image(self._layout.head(), self._layout.specs, self._layout.pieces[self._comm.rank], needed)

    def _values(self, flat: FlatState, step: int) -> bytes:
        rows = {str(entry): len(leaf.array) for entry, leaf in enumerate(flat.leaves) if isinstance(leaf, Rows)}
        return to_json({"step": step, "values": flat.values, "rows": rows})

    def _write(self, step: int) -> None:
        assert self._image is not None
        path = self.folder / catalog.folder_name(step, self._session)
        rank = self._comm.rank
        with together(self._comm, f"making {path}"):
            if rank == 0:
                path.mkdir(exist_ok=True)
        with together(self._comm, f"writing {path}"), memoryview(self._image.memory) as memory:
            write_bytes(path / catalog.rank_file(rank), memory)
            write_record(path / catalog.rank_record(rank), catalog.describe_rank(rank, len(memory), checksums(memory)))
        self._sequence += 1
        with together(self._comm, f"committing {path}"):
            if rank == 0:
                header = {"step": step, "sequence": self._sequence, "session": self._session, "size": self._comm.size}
                catalog.try_commit(path, {**header, "written_by": hpcml.__version__})
                catalog.prune(self.folder, self._keep, self._damaged)
