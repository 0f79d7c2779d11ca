"""An error in reading or writing on one rank becomes the error of all ranks, and says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from mpi4py import MPI

from hpcml.core.errors import CheckpointError, HpcmlError
from hpcml.io.files.remedy import reason
from hpcml.mpi import raise_together


@contextmanager
def together(comm: MPI.Intracomm, doing: str) -> Iterator[None]:
    """Run a block that may fail on some ranks; if it does, every rank raises.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        The ranks that run the block. The block itself must not communicate.
    doing : str
        What the block does, for the message.

    Raises
    ------
    CheckpointError
        Where a file or the state is at fault. Other errors pass, on every rank too.

    Communication
    -------------
    Collective: an agreement of 24 bytes if all is well.
    """
    with raise_together(comm):
        try:
            yield
        except HpcmlError:
            raise
        except MemoryError as error:
            raise CheckpointError(f"{doing} failed: there is no memory for it: {reason(error)}") from error
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{doing} failed: {reason(error)}") from error
