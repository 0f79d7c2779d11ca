"""Find the newest checkpoint that is whole and read it, on any number of ranks."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpi4py import MPI

from hpcml.core.errors import CheckpointError
from hpcml.io.checkpoint.keeper.kept import Kept
from hpcml.io.checkpoint.parity.memory import UnreachableError, find_in_memory, open_in_memory
from hpcml.io.checkpoint.state.load import FolderImages, load
from hpcml.io.checkpoint.stored.catalog import Catalog, Checkpoint, DamagedError, folder_of, survey
from hpcml.io.checkpoint.stored.verify import damage
from hpcml.io.files.agree import together
from hpcml.io.files.regular import shown
from hpcml.mpi.call import named_call
from hpcml.mpi.meeting import unhurried
from hpcml.mpi.patient_comm import patient

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back.

    Attributes
    ----------
    state : mapping
        The state on this rank, on the CPU.
    step : int
        Step after which it was saved.
    level : {"memory", "parity", "disk"}
        The nearest level that was complete.
    path : pathlib.Path
        The checkpoint.
    skipped : dict of pathlib.Path to str
        Newer ones that are damaged, and what is wrong with them.
    sequence : int
        Counts the saves of a run across its restarts.
    """

    state: dict[str, Any]
    step: int
    level: str
    path: Path
    skipped: dict[Path, str]
    sequence: int


@named_call
def restore(
    folder: str | Path,
    comm: MPI.Intracomm,
    *,
    like: Mapping[str, Any] | None = None,
    step: int | None = None,
    kept: Sequence[Kept] = (),
) -> Restored | None:
    """Read the newest whole checkpoint of a run from the nearest level that holds it: memory, parity, disk.

    Parameters
    ----------
    folder : str or pathlib.Path
        Where the run keeps its checkpoints.
    comm : mpi4py.MPI.Intracomm
        Ranks that restore, in any number.
    like : mapping, optional
        A state of this run. Its `Blocked` entries say which box each rank wants, of any layout; without it every rank gets whole arrays.
        The model is compared with the saved one.
    step : int, optional
        Restore this step instead of the newest.
    kept : sequence of Kept
        What the keepers on this node still hold, from `kept.visit_keepers`. The `Checkpointer` asks them by itself; without them the
        disk is read.

    Returns
    -------
    Restored or None
        None where the folder holds no checkpoint at all.

    Raises
    ------
    CheckpointError
        On every rank: no checkpoint is whole, the one asked for is damaged, or it is of another model.

    Communication
    -------------
    Collective. The ranks share the comparison with the checksums; replicated bytes are read once, blocks by the ranks that want them.

    Examples
    --------
    >>> restore("no-such-run", MPI.COMM_SELF) is None
    True
    """
    comm = patient(comm)
    with unhurried(comm, "looking for checkpoints"):
        return _restore(Path(folder), comm, like, step, kept)


def look_for(folder: Path, comm: MPI.Intracomm) -> Catalog:
    """What a run's folder holds, as rank 0 sees it.

    Raises
    ------
    CheckpointError
        On every rank, where the folder cannot be read.

    Communication
    -------------
    Collective: one broadcast.
    """
    found = None
    with together(comm, f"looking for checkpoints in {shown(folder)}"):
        if comm.rank == 0:
            found = survey(folder)
    catalog: Catalog = comm.bcast(found)
    return catalog


def _restore(folder: Path, comm: MPI.Intracomm, like: Mapping[str, Any] | None, step: int | None, kept: Sequence[Kept]) -> Restored | None:
    found = look_for(folder, comm)
    candidates, skipped = found.complete, found.damaged
    newest = candidates[0].sequence if candidates else -1
    wanted = [one for one in candidates if step is None or one.step == step]
    for save in find_in_memory(kept, comm):
        if (step is None and save.key[1] >= newest) or (step is not None and save.header["step"] == step):
            with suppress(UnreachableError):
                try:
                    with open_in_memory(save, kept, comm) as images:
                        found_step, state = load(images, save.header["size"], comm, like)
                except DamagedError as error:
                    if comm.rank == 0:
                        _log.warning("what memory holds of step %s cannot be read (%s): the disk is asked", save.header["step"], error)
                    continue
                path = folder / folder_of(save.header)
                return Restored(state, found_step, save.level, path, skipped, save.key[1])
    restored = _first_whole(wanted, skipped, comm, like)
    if restored is None:
        if skipped or step is not None:
            which = "" if step is None else f" of step {step}"
            have = ", ".join(str(found.step) for found in candidates) or "none"
            raise CheckpointError(f"{folder} holds no whole checkpoint{which}; steps found: {have}{_listed(skipped)}")
        return None
    for fault in skipped.values() if comm.rank == 0 else ():
        _log.warning("%s; it is skipped", fault)
    return restored


def _first_whole(
    candidates: Sequence[Checkpoint], skipped: dict[Path, str], comm: MPI.Intracomm, like: Mapping[str, Any] | None
) -> Restored | None:
    """The first checkpoint whose bytes are as they were written, and say what a state is; the others join the skipped."""
    for checkpoint in candidates:
        fault = damage(checkpoint, comm)
        if fault is None:
            try:
                with FolderImages(checkpoint.path, comm.size) as images:
                    step, state = load(images, checkpoint.size, comm, like)
                return Restored(state, step, "disk", checkpoint.path, skipped, checkpoint.sequence)
            except DamagedError as error:
                fault = f"{shown(checkpoint.path)}: {error}"
        skipped[checkpoint.path] = fault
    return None


def _listed(faults: Mapping[Path, str]) -> str:
    return "".join(f"\n  {fault}" for fault in faults.values())
