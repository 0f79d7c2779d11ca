"""Save the whole state of a run while it goes on, and get it back after whatever ended it."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from mpi4py import MPI

from hpcml.core.errors import CheckpointError
from hpcml.io.checkpoint.copies import Copies
from hpcml.io.checkpoint.headers import Headers
from hpcml.io.checkpoint.keeper.kept import Kept, find_kept
from hpcml.io.checkpoint.keeper.link import MAX_AGE_SECONDS, KeeperLink
from hpcml.io.checkpoint.keeper.session import begin_session
from hpcml.io.checkpoint.parity.redundancy import Redundancy
from hpcml.io.checkpoint.registry import Registry
from hpcml.io.checkpoint.restored import Restored, look_for, restore
from hpcml.io.checkpoint.state.flat_state import FlatState, flatten
from hpcml.io.files.agree import together
from hpcml.io.files.lock import FolderLock
from hpcml.io.files.regular import shown
from hpcml.mpi.call import named_call
from hpcml.mpi.launcher_watch import watch_launcher
from hpcml.mpi.meeting import meet, unhurried
from hpcml.mpi.patient_comm import patient


class Checkpointer:
    """Saves the state of a run into a folder, mostly while the run goes on.

    `save` copies the state into memory that a small process beside each rank, the keeper, shares and outlives the rank with; that process
    does the rest. Where the disk is slower than the saves, only the newest of those that come meanwhile reaches it.

    Parameters
    ----------
    folder : str or pathlib.Path
        Where the run keeps its checkpoints; one job at a time writes there.
    comm : mpi4py.MPI.Intracomm
        The ranks of the run. It is cloned: saving never disturbs other messages.
    keep : int
        Complete checkpoints that stay on disk; older ones are removed.
    lazy : bool
        Let `save` return at once and copy while training goes on. The state must then not change between `save` and `before_update`:
        parameters and optimiser do not, running statistics of a batch norm do.
    losses : int
        Ranks of a group whose memory may be lost with their nodes: 0 (no parity), 1 (exclusive or) or 2 (Reed-Solomon, needs PyECLib).
    group_size : int
        Ranks in a group, on different nodes where there are enough; each keeps losses / (group_size - losses) of its share as parity.
    linger : float
        Seconds for which the memory of a run that has died waits for its restart.
    patience : float
        Seconds to wait for another job that uses the folder.
    max_age : float
        Seconds after which a save that is not on disk yet is written as fast as can be; until then training goes first where every core
        is taken. The death of a node costs at most the work of `max_age`, of the time between two saves and of the time of two writes.

    Attributes
    ----------
    saves, writes : int
        How often the state was saved, and how often that began a write to disk at once.

    Raises
    ------
    CheckpointError
        On every rank: the folder is in use by another job, or cannot be written.

    Communication
    -------------
    Collective to make, `save`, `prepare`, `wait`, `latest`, `restore` and leaving the `with` block without an exception.

    Notes
    -----
    A state: tensors, arrays, None, bool, int, float, str, bytes and mappings, lists and tuples of them. Arrays are the same on every rank
    unless they are `Blocked` or `Rows`; plain values are those of rank 0. Memory: three copies of what a rank writes.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder, Checkpointer(folder, MPI.COMM_SELF) as checkpointer:
    ...     checkpointer.save(7, {"w": np.arange(3.0), "epoch": 1})
    ...     checkpointer.wait()
    ...     restored = checkpointer.restore()
    >>> restored.step, restored.state["w"].tolist(), restored.state["epoch"]
    (7, [0.0, 1.0, 2.0], 1)
    """

    @named_call
    def __init__(
        self,
        folder: str | Path,
        comm: MPI.Intracomm,
        *,
        keep: int = 2,
        lazy: bool = False,
        losses: int = 0,
        group_size: int = 4,
        linger: float = 30.0,
        patience: float = 3.0,
        max_age: float = MAX_AGE_SECONDS,
    ) -> None:
        if keep < 1:
            raise CheckpointError(f"keep must be at least 1, got {keep}: the newest checkpoint always stays")
        watch_launcher()  # without it nobody may ever end this process, which has the folder
        self.folder, self._registry = Path(folder), Registry()
        self._comm = patient(comm).Dup()
        self.saves = self.writes = 0
        self._saved: dict[str, Any] | None = None
        self._kept: list[Kept] | None = None  # not asked yet
        self._lock: FolderLock | None = None
        self._link: KeeperLink | None = None
        start: list[Any] | None = None
        with together(self._comm, f"opening {shown(self.folder)} for checkpoints"):
            if self._comm.rank == 0:
                self._lock, *start = begin_session(self.folder, self._comm.size, patience)
        self._session, newest = self._comm.bcast(start)
        self._headers = Headers(self._session.name, self._comm.size, newest)
        options: dict[str, Any] = {"rank_process": os.getpid(), "rank": self._comm.rank, "size": self._comm.size, "keep": keep}
        options |= {"linger": linger, "folder": str(self.folder.absolute()), "lock": self._lock.token if self._lock is not None else ""}
        try:
            with together(self._comm, "starting the keepers"):
                self._link = KeeperLink(options, self._session, max_age)
            redundancy = Redundancy(self._comm, self._link, losses, group_size) if losses else None
        except BaseException:
            if self._link is not None:
                self._link.close(clean=True)
            if self._lock is not None:
                self._lock.close()
            raise
        self._copies = Copies(self._comm, self._link, redundancy, lazy)

    def __enter__(self) -> "Checkpointer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        clean = False
        try:
            if kind is None:
                self.wait()
                clean = True
        finally:
            self.close(clean)

    def register(self, name: str, get_state: Callable[[], Any], set_state: Callable[[Any], None], required: bool = True) -> None:
        """Make something part of every checkpoint.

        Parameters
        ----------
        name : str
            Its key in the state.
        get_state : callable
            Returns its state, such as ``model.state_dict``; called by `save`, and by `restore` for the layout of this run.
        set_state : callable
            Takes the restored state, such as ``model.load_state_dict``.
        required : bool
            Whether a checkpoint without it, of before it was registered, is refused; otherwise nothing is taken from one.
        """
        self._registry.add(name, get_state, set_state, required)

    @named_call
    def save(self, step: int, state: Mapping[str, Any] | None = None) -> None:
        """Save the state after a step; the same step is saved only once.

        Parameters
        ----------
        step : int
            Step that the state is the result of.
        state : mapping, optional
            What to save; by default everything registered.

        Raises
        ------
        CheckpointError
            On every rank: the state cannot be stored, or an earlier one could not be written. What was complete still is.

        Communication
        -------------
        Collective: three reductions of a few bytes, more when the shape of the state changes.
        """
        if self._saved is not None and step == self._saved["step"]:
            return
        meet(self._comm, f"step {step}")
        with self._agreed("saving the state"):
            self._copies.finish()
            if (failure := self._keeper.poll()) is not None:
                raise CheckpointError(failure)
            if self._lock is not None:
                self._lock.check()
            flat = flatten(self._registry.collect() if state is None else state)
        self._make_room(flat, step)
        header = self._headers.next(step)
        self.writes += self._copies.fill(flat, header)
        self.saves += 1
        self._saved = header

    @named_call
    def prepare(self) -> None:
        """Make room for copies of what is registered, so that the first save costs no more than later ones. Collective."""
        with together(self._comm, "collecting the state"):
            flat = flatten(self._registry.collect())
        self._make_room(flat, 0)

    def before_update(self) -> None:
        """Call at every step, before the state changes: the last save has its copy then, and messages between ranks go on."""
        self._copies.finish()

    @named_call
    def wait(self) -> None:
        """Wait until the last save is complete on disk, or raise CheckpointError on every rank. Collective."""
        if self._saved is None:
            return
        with unhurried(self._comm, "waiting for the disk"):
            with self._agreed("writing the checkpoint"):
                self._copies.finish()
                self._copies.drain()
            with self._agreed("committing the checkpoint"):
                if self._comm.rank == 0 and (failure := self._keeper.wait_committed(self._saved["sequence"])) is not None:
                    raise CheckpointError(failure)

    def writing(self) -> bool:
        """Whether an earlier save is on its way to disk or to other ranks, here. Local."""
        return self._copies.underway()

    @named_call
    def latest(self) -> int | None:
        """Step of the newest complete checkpoint on disk; None where there is none. Collective."""
        return next((found.step for found in look_for(self.folder, self._comm).complete), None)

    @named_call
    def restore(self, like: Mapping[str, Any] | None = None, *, step: int | None = None) -> Restored | None:
        """Restore the newest whole checkpoint from the nearest level, and hand what is registered its state.

        Parameters, result, errors and communication are those of `hpcml.io.restore`; `like` is by default the state of what is registered.
        """
        self.wait()
        self._saved = None  # what follows is another state, of the same step too
        if like is None and self._registry:
            with together(self._comm, "collecting the state"):
                like = self._registry.collect()
        if self._kept is None:  # on every rank: what the keepers of its node hold is no matter here
            self._kept = find_kept(self.folder, self._comm, self._session)
        restored = restore(self.folder, self._comm, like=like, step=step, kept=self._kept)
        if restored is not None:
            self._keeper.set_damaged(restored.skipped)
            self._headers.sequence = max(self._headers.sequence, restored.sequence)
            self._registry.hand_out(restored, self._comm)
        return restored

    def close(self, clean: bool = True) -> None:
        """Give back memory, lock, communicator and keeper, without waiting for the last save: call `wait` before, or use `with`. Local.

        Parameters
        ----------
        clean : bool
            False leaves the keeper to finish what it has, as if the rank had died.
        """
        if self._link is not None:
            self._release()
            self._copies.close(clean)
            self._link.close(clean)
            self._link = None
            if self._lock is not None:
                if clean:
                    self._session.end(self.folder)
                self._lock.close(to_heir=not clean)
            if clean:
                self._comm.Free()

    @property
    def _keeper(self) -> KeeperLink:
        if self._link is None:
            raise CheckpointError(f"the checkpointer of {self.folder} is closed")
        return self._link

    def _make_room(self, flat: FlatState, step: int) -> None:
        changed, outgrown = self._copies.need(flat, step)
        if self._saved is not None:
            self._release()
        if changed or outgrown:
            self.wait()
            self._agreed("making room in memory for a checkpoint")(self._copies.adapt)(flat, step, changed)  # ulimit -f limits it too

    @contextmanager
    def _agreed(self, doing: str) -> Iterator[None]:
        """`together`; after an error the same step can be saved again."""
        try:
            with together(self._comm, doing):
                yield
        except CheckpointError:
            self._saved = None
            raise

    def _release(self) -> None:
        """Let the keepers of an earlier run go: a copy of this run is complete on every rank."""
        for one in self._kept or ():
            one.release()
        self._kept = []
