"""One error for all ranks, so that no rank waits for one that has given up."""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager

from mpi4py import MPI

from hpcml.core.errors import CommunicationError
from hpcml.mpi.meeting import meet


def agree(flag: bool, comm: MPI.Intracomm) -> bool:
    """Tell whether the flag is true on every rank.

    Communication
    -------------
    Collective: one all-reduce of 24 bytes.

    Examples
    --------
    >>> agree(True, MPI.COMM_SELF)
    True
    """
    return meet(comm, "agreement", flag=bool(flag))


def agree_on_error(error: Exception | None, comm: MPI.Intracomm) -> None:
    """Raise on every rank if any rank has an error: that of the lowest rank that has one.

    Parameters
    ----------
    error : Exception, optional
        What went wrong on this rank, if anything did.
    comm : mpi4py.MPI.Intracomm
        The ranks.

    Raises
    ------
    Exception
        Of the class of that rank's error, its message preceded by the rank; the error itself where all ranks have the same. A class
        that cannot be rebuilt from its message becomes a `CommunicationError`.

    Communication
    -------------
    Collective: an all-reduce of 24 bytes if all is well, otherwise the messages too.

    Examples
    --------
    >>> agree_on_error(None, MPI.COMM_SELF)
    """
    if agree(error is None, comm):
        return
    reports = MPI.Intracomm.allgather(  # all ranks are here
        comm, None if error is None else (_sendable(type(error)), type(error).__name__, str(error))
    )
    failed = [rank for rank, report in enumerate(reports) if report is not None]
    kind, name, text = reports[failed[0]]
    if error is not None and reports.count(reports[failed[0]]) == comm.size:
        raise error
    others = f" (and {len(failed) - 1} more of {comm.size} ranks)" if len(failed) > 1 else ""
    message = f"rank {failed[0]}: {text}{others}"
    try:
        agreed = pickle.loads(kind)(message)
    except Exception:
        agreed = CommunicationError(f"{name} on {message}")
    raise agreed from error


@contextmanager
def raise_together(comm: MPI.Intracomm) -> Iterator[None]:
    """Run a block without communication (reading a file, checking input) whose errors are agreed on at its end.

    Raises
    ------
    Exception
        On every rank, what `agree_on_error` raises.

    Communication
    -------------
    Collective at the end of the block.

    Examples
    --------
    >>> with raise_together(MPI.COMM_SELF):
    ...     size = int("12")
    """
    error: Exception | None = None
    try:
        yield
    except Exception as caught:
        error = caught
    agree_on_error(error, comm)


def _sendable(kind: type[Exception]) -> bytes:
    try:
        return pickle.dumps(kind)
    except Exception:
        return pickle.dumps(CommunicationError)
