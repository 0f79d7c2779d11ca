"""Edges for which there may be no memory."""

from collections.abc import Iterator
from contextlib import contextmanager

from mpi4py import MPI

from hpcml.core.errors import ConfigError
from hpcml.mpi.agreement import raise_together


@contextmanager
def room_for(edges: str, remedy: str, comm: MPI.Intracomm) -> Iterator[None]:
    """Run a block without communication that makes edges, as many as the user's numbers ask for.

    Raises
    ------
    ConfigError
        On every rank, if one has no memory for them.

    Communication
    -------------
    Collective at the end of the block: an agreement.
    """
    with raise_together(comm):
        try:
            yield
        except MemoryError as error:
            raise ConfigError(f"there is no memory for {edges} ({error}): {remedy}") from None
