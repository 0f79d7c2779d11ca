"""What MPI knows of ranks that have died, where it outlives them: Open MPI, started as ``mpiexec --with-ft ulfm``."""

import os
from functools import cache

from mpi4py import MPI

from hpcml.core.errors import LostRankError
from hpcml.mpi.call import user_line

_known: set[int] = set()


@cache
def outlives_ranks() -> bool:
    """Whether this MPI was started so that ranks go on where others die; elsewhere the launcher ends all of them.

    Communication
    -------------
    Local.
    """
    return os.environ.get("OMPI_MCA_mpi_ft_enable") == "1" and MPI.get_vendor()[0] == "Open MPI" and MPI.COMM_WORLD.size > 1  # noqa: SIM112


def lost_ranks() -> tuple[int, ...]:
    """Ranks of ``MPI.COMM_WORLD`` of whose death this rank has heard, apart from those that it has gone on without.

    Communication
    -------------
    Local.
    """
    if not outlives_ranks():
        return ()
    dead, everybody = MPI.COMM_WORLD.Get_failed(), MPI.COMM_WORLD.Get_group()
    found = MPI.Group.Translate_ranks(dead, list(range(dead.size)), everybody)
    dead.Free()
    everybody.Free()
    return tuple(sorted({*found} - _known))


def go_on_with(comm: MPI.Intracomm) -> tuple[int, ...]:
    """Note that all but the ranks of this communicator are dead, and give those that are newly so.

    Communication
    -------------
    Local.
    """
    left, everybody = comm.Get_group(), MPI.COMM_WORLD.Get_group()
    there = MPI.Group.Translate_ranks(left, list(range(left.size)), everybody)
    dead = {*range(MPI.COMM_WORLD.size)} - {*there}
    left.Free()
    everybody.Free()
    newly = tuple(sorted(dead - _known))
    _known.update(dead)
    MPI.COMM_WORLD.Ack_failed(len(dead))  # else every look for messages of any rank would tell of them again
    return newly


def of_lost_ranks(what: str) -> LostRankError:
    """The error of a rank that is in something with ranks that have died.

    Communication
    -------------
    Local.
    """
    dead = lost_ranks()
    named = f"rank {dead[0]} has" if len(dead) == 1 else f"ranks {', '.join(map(str, dead))} have"
    return LostRankError(f"{named} died, and rank {MPI.COMM_WORLD.rank} is in {what} with it{user_line()}: look for its last words")
