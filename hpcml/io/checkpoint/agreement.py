"""An error on one rank, raised on all of them: nobody is left waiting in a collective call."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from mpi4py import MPI

from hpcml.core.errors import CheckpointError, HpcmlError
from hpcml.io.checkpoint.durable import remedy


@contextmanager
def together(comm: MPI.Comm, doing: str) -> Iterator[None]:
    """Run a block that may fail on some ranks; if it does, every rank raises.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        The ranks that run the block. The block itself must not communicate.
    doing : str
        What the block does, for the message.

    Raises
    ------
    CheckpointError
        With the message of the lowest rank that failed.

    Communication
    -------------
    Collective: one reduction of 8 bytes, and one broadcast of the message after a failure.
    """
    failure: Exception | None = None
    try:
        yield
    except (HpcmlError, OSError, KeyError, ValueError, RuntimeError) as error:
        failure = error
    first = np.array(comm.rank if failure else comm.size)
    comm.Allreduce(MPI.IN_PLACE, first, op=MPI.MIN)
    if first == comm.size:
        return
    message = comm.bcast(_message(failure, doing, comm) if comm.rank == first else None, root=int(first))
    raise CheckpointError(message) from failure


def _message(failure: Exception | None, doing: str, comm: MPI.Comm) -> str:
    where = f" (rank {comm.rank} of {comm.size})" if comm.size > 1 else ""
    if isinstance(failure, HpcmlError):
        return f"{failure}{where}"
    return f"{doing} failed{where}: {failure}{remedy(failure.errno) if isinstance(failure, OSError) else ''}"
