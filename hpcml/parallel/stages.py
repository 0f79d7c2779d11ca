"""Ranks cut into groups that each compute some layers of one network."""

from typing import TYPE_CHECKING, Self

from mpi4py import MPI

from hpcml.core.errors import TopologyError
from hpcml.mpi.call import named_call
from hpcml.mpi.patient_comm import patient

if TYPE_CHECKING:
    from hpcml.mpi.world import World


class Stages:
    """Groups of ranks of equal size, one behind the other; a context manager.

    Parameters
    ----------
    world : World or MPI.Intracomm
        All ranks.
    number : int
        Of stages.

    Attributes
    ----------
    world : MPI.Intracomm
        All ranks.
    comm : MPI.Intracomm
        Ranks of this rank's stage: build a space on them, and a network on that, as if there were no others.
    across : MPI.Intracomm
        Ranks that have the same part of such a space, one of each stage, in their order.
    index, number : int
        This rank's stage, and how many there are.

    Raises
    ------
    TopologyError
        On every rank, if the groups would not be of equal size.

    Communication
    -------------
    Collective over world: two communicators.

    Examples
    --------
    >>> with Stages(MPI.COMM_SELF, 1) as stages:
    ...     stages.index, stages.comm.size
    (0, 1)
    """

    @named_call
    def __init__(self, world: "World | MPI.Intracomm", number: int) -> None:
        self.world, self.number = patient(world if isinstance(world, MPI.Intracomm) else world.comm), number
        size = self.world.size
        if number < 1 or size % number:
            raise TopologyError(f"{size} ranks cannot be cut into {number} stages of equal size: choose a divisor of {size}")
        self.index, place = divmod(self.world.rank, size // number)
        self.comm = self.world.Split(self.index, self.world.rank)
        self.across = self.world.Split(place, self.world.rank)

    def close(self) -> None:
        """Free the communicators; what was built on them is to be closed before."""
        for comm in (self.across, self.comm):
            if comm != MPI.COMM_NULL:
                comm.Free()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
