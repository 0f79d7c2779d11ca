"""Find the newest checkpoint that is whole and read it, on any number of ranks."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpi4py import MPI

from hpcml.core.errors import CheckpointError
from hpcml.io.checkpoint.agreement import together
from hpcml.io.checkpoint.catalog import Checkpoint, survey
from hpcml.io.checkpoint.load import FolderImages, load
from hpcml.io.checkpoint.verify import damage

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
    """

    state: dict[str, Any]
    step: int
    level: str
    path: Path
    skipped: dict[Path, str]


def restore(folder: str | Path, comm: MPI.Intracomm, *, like: Mapping[str, Any] | None = None, step: int | None = None) -> Restored | None:
    """Read the newest whole checkpoint of a run from disk.

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
    candidates: list[Checkpoint] = []
    skipped: dict[Path, str] = {}
    with together(comm, f"looking for checkpoints in {folder}"):
        if comm.rank == 0:
            catalog = survey(Path(folder))
            skipped = catalog.damaged
            candidates = [found for found in catalog.complete if step is None or found.step == step]
            if step is not None and not candidates:
                have = ", ".join(str(found.step) for found in catalog.complete) or "none"
                raise CheckpointError(f"{folder} holds no whole checkpoint of step {step}; it holds steps: {have}{_listed(skipped)}")
    candidates, skipped = comm.bcast((candidates, skipped))
    for checkpoint in candidates:
        fault = damage(checkpoint, comm)
        if fault is None:
            break
        skipped[checkpoint.path] = fault
    else:
        if skipped:
            raise CheckpointError(f"{folder} holds no whole checkpoint{_listed(skipped)}")
        return None
    for fault in skipped.values() if comm.rank == 0 else ():
        _log.warning("%s; it is skipped", fault)
    with FolderImages(checkpoint.path, comm.size) as images:
        found_step, state = load(images, checkpoint.size, comm, like)
    return Restored(state, found_step, "disk", checkpoint.path, skipped)


def _listed(faults: Mapping[Path, str]) -> str:
    return "".join(f"\n  {fault}" for fault in faults.values())
