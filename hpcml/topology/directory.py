"""Rows of arrays that move to the rank that is to have them, and facts about global numbers that every rank can ask for.

Of all numbers, rank r keeps the facts about those of its block (`hpcml.topology.block.block_range`), so no rank knows all of them.
"""

import numpy as np
from mpi4py import MPI

from hpcml.mpi.patient_comm import patient
from hpcml.topology.block import owners_of


def send_rows(ranks: np.ndarray, comm: MPI.Intracomm, *arrays: np.ndarray) -> list[np.ndarray]:
    """Send each row of some arrays to a rank.

    Parameters
    ----------
    ranks : ndarray
        int64, (row,): where to.
    comm : mpi4py.MPI.Intracomm
        The ranks.
    *arrays : ndarray
        (row, ...).

    Returns
    -------
    list of ndarray
        What has come of each, ordered by the rank that it comes from, and from one rank in its order.

    Communication
    -------------
    Collective: all to all, no more than the rows.

    Examples
    --------
    >>> send_rows(np.array([0, 0]), MPI.COMM_SELF, np.array([5, 6]))[0].tolist()
    [5, 6]
    """
    if comm.size == 1:
        return [np.array(array) for array in arrays]
    order = np.argsort(ranks, kind="stable")
    cuts = np.searchsorted(ranks[order], np.arange(1, comm.size))
    pieces = [np.split(array[order], cuts) for array in arrays]
    came = patient(comm).alltoall([[of[rank] for of in pieces] for rank in range(comm.size)])
    return [np.concatenate(parts) for parts in zip(*came, strict=True)]


class Directory:
    """One fact about each number below a total.

    Parameters
    ----------
    numbers : ndarray
        int64: each number is given by one rank.
    facts : ndarray
        (number, ...): about them.
    total : int
        Numbers of all ranks.
    comm : mpi4py.MPI.Intracomm
        The ranks.

    Communication
    -------------
    Making one and asking: collective, all to all.
    """

    def __init__(self, numbers: np.ndarray, facts: np.ndarray, total: int, comm: MPI.Intracomm) -> None:
        self.total, self._comm = total, comm
        known, kept = send_rows(owners_of(numbers, total, comm.size), comm, numbers, facts)
        self._facts = kept[np.argsort(known)]
        self._first = int(known.min(initial=total))

    def ask(self, numbers: np.ndarray) -> np.ndarray:
        """Facts about some numbers, (number, ...); each distinct one travels once."""
        distinct, places = np.unique(numbers, return_inverse=True)
        keepers = owners_of(distinct, self.total, self._comm.size)
        asked, asker = send_rows(keepers, self._comm, distinct, np.full(len(distinct), self._comm.rank))
        answers = send_rows(asker, self._comm, self._facts[asked - self._first])[0]  # by keeper, hence by number
        return answers[places]
