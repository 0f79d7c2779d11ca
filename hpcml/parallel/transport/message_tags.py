"""Tags of messages: a different one for each exchange between two ranks, all within what MPI guarantees."""

from functools import cache

from mpi4py import MPI

MOST = 16384
"""Tags in use by exchanges, 0 to 16383. MPI guarantees 0 to 32767; greetings and roll-calls have the last two."""


def next_tag(comm: MPI.Intracomm, peer: int) -> int:
    """Tag of the next exchange with a peer: both count what they have agreed on, so both get the same one.

    Parameters
    ----------
    comm : MPI.Intracomm
        Ranks are counted in it.
    peer : int
        The other rank.

    Communication
    -------------
    Local.

    Notes
    -----
    A tag comes again after 16384 exchanges with the same rank; what was given up under it is long gone by then.
    """
    counts: dict[int, int] | None = comm.Get_attr(_key())  # type: ignore[assignment]
    if counts is None:
        counts = {}
        comm.Set_attr(_key(), counts)
    counts[peer] = number = counts.get(peer, -1) + 1
    return number % MOST


@cache
def _key() -> int:
    return MPI.Comm.Create_keyval()
