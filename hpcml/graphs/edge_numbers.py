"""Numbers for the edges of a graph that do not depend on who has them."""

import numpy as np
from mpi4py import MPI

from hpcml.mpi.patient_comm import patient
from hpcml.topology.block import owners_of
from hpcml.topology.directory import Directory, send_rows


def edge_numbers(edges: np.ndarray, nodes: np.ndarray, total: int, comm: MPI.Intracomm) -> np.ndarray:
    """Number edges: those that end at node 0 first, then those at node 1, and so on.

    Parameters
    ----------
    edges : ndarray
        int64, (2, edge): of this rank, by where they end and then by where they begin, in global numbers.
    nodes : ndarray
        int64: of this rank, in any order; all its edges end at them.
    total : int
        Nodes of all ranks.
    comm : mpi4py.MPI.Intracomm
        The ranks.

    Returns
    -------
    ndarray
        int64, (edge,).

    Communication
    -------------
    Collective: all to all, two numbers for each node.
    """
    own = np.sort(nodes)
    counts = np.bincount(np.searchsorted(own, edges[1]), minlength=len(own))
    known, kept = send_rows(owners_of(own, total, comm.size), comm, own, counts)
    order = np.argsort(known)
    firsts = np.cumsum(kept[order]) - kept[order] + sum(patient(comm).allgather(int(kept.sum()))[: comm.rank])
    first = Directory(known[order], firsts, total, comm).ask(own)
    return np.repeat(first - (np.cumsum(counts) - counts), counts) + np.arange(edges.shape[1])
