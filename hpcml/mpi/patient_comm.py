"""A communicator whose collective calls end: with what they are for, or with an error that names who has not come."""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any, cast
from weakref import WeakValueDictionary

import numpy as np
from mpi4py import MPI

from hpcml.mpi.meeting import meet

ALIKE = ("Allreduce", "Allgather", "Bcast")
"""Their buffers have one size on all ranks."""
_made: WeakValueDictionary[int, "PatientComm"] = WeakValueDictionary()
COLLECTIVE = (*ALIKE, "Scan", "allreduce", "allgather", "bcast", "gather", "scatter", "alltoall", "Reduce", "reduce")


class PatientComm(MPI.Intracomm):
    """An intracommunicator on which all ranks meet before each collective call; communicators made of it are alike.

    Communication
    -------------
    Each collective call: an all-reduce of 24 bytes more, see `hpcml.mpi.meeting.meet`. Point to point: that of MPI.
    """

    tiles: object = None
    """What `hpcml.parallel.tiles.Tiles` marks it with."""

    def __init__(self, comm: MPI.Comm | None = None) -> None:
        _made[id(self)] = self

    def Barrier(self) -> None:  # noqa: N802
        """Wait for all ranks."""
        meet(self, "Barrier")

    barrier = Barrier

    def Dup(self, info: MPI.Info | None = None) -> "PatientComm":  # noqa: N802
        """Clone."""
        meet(self, "Dup")
        return PatientComm(super().Dup(info))

    def Split(self, color: int = 0, key: int = 0) -> "PatientComm":  # noqa: N802
        """Make a communicator of the ranks of each color."""
        meet(self, "Split")
        return PatientComm(super().Split(color, key))

    def Split_type(self, split_type: int, key: int = 0, info: MPI.Info = MPI.INFO_NULL) -> "PatientComm":  # noqa: N802
        """Make a communicator of the ranks that share something."""
        meet(self, "Split_type")
        return PatientComm(super().Split_type(split_type, key, info))


def _meeting_first(name: str) -> Callable[..., Any]:
    plain = getattr(MPI.Intracomm, name)

    @wraps(plain)
    def method(self: PatientComm, *args: Any, **kwargs: Any) -> Any:
        meet(self, name, *(_size(buffer) for buffer in args if name in ALIKE and isinstance(buffer, (list, np.ndarray))))
        return plain(self, *args, **kwargs)

    return method


def _size(buffer: Any) -> object:
    memory = buffer[0] if isinstance(buffer, list) else buffer
    return getattr(memory, "nbytes", "")


for _name in COLLECTIVE:
    setattr(PatientComm, _name, _meeting_first(_name))


def revoke_all() -> None:
    """End every call that any rank has under way on a communicator that this one knows, with an error, now and for ever.

    Communication
    -------------
    Local; needs an MPI that outlives its ranks. Those that are alone in a communicator keep it.
    """
    for comm in list(_made.values()):
        if comm != MPI.COMM_NULL and comm != MPI.COMM_WORLD and comm.size > 1:
            comm.Revoke()


@cache
def _key() -> int:
    return MPI.Comm.Create_keyval()


def patient(comm: MPI.Intracomm) -> PatientComm:
    """The patient view of a communicator: the same ranks, the same messages, the same object at every call.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        The caller's.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> patient(MPI.COMM_SELF) is patient(MPI.COMM_SELF), patient(MPI.COMM_SELF) == MPI.COMM_SELF
    (True, True)
    """
    if isinstance(comm, PatientComm):
        return comm
    view: Any = comm.Get_attr(_key())
    if view is None:
        view = PatientComm(comm)
        comm.Set_attr(_key(), view)
    return cast(PatientComm, view)
