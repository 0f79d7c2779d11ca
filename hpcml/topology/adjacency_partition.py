"""METIS and KaHIP: serial partitioners that see how nodes are joined, on the first rank.

Karypis and Kumar, SIAM Journal on Scientific Computing 20, 359 (1998).
Sanders and Schulz, International Symposium on Experimental Algorithms (2013), arXiv 1210.0477.
"""

from collections.abc import Callable

import numpy as np
from mpi4py import MPI

from hpcml.core.optional_module import optional_module
from hpcml.mpi.agreement import raise_together
from hpcml.mpi.patient_comm import patient
from hpcml.topology.block import block_range, owners_of
from hpcml.topology.directory import send_rows
from hpcml.topology.pairs import both_ways, distinct_pairs

SEED = 0
MOST_ABOVE_MEAN = 0.03
"""How much larger a part may be than their mean, METIS's own default."""

Partition = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def metis(first: np.ndarray, others: np.ndarray, num_parts: int) -> np.ndarray:
    """Part of each node of an adjacency in compressed rows, by pymetis."""
    pymetis = optional_module("pymetis", "METIS needs the package pymetis", "'hpcml[graphs]'")
    whole = pymetis.zero_copy_dtype()
    adjacency = pymetis.CSRAdjacency(first.astype(whole, copy=False), others.astype(whole, copy=False))
    return np.asarray(pymetis.part_graph(num_parts, adjacency, options=pymetis.Options(seed=SEED))[1], np.int64)


def kahip(first: np.ndarray, others: np.ndarray, num_parts: int) -> np.ndarray:
    """Part of each node of an adjacency in compressed rows, by KaHIP, which takes several times as long as METIS."""
    kahip = optional_module("kahip", "KaHIP needs the package kahip", "kahip")
    ones = np.ones(len(others), np.int32)
    arrays = ones[:1].repeat(len(first) - 1), first.astype(np.int32), ones, others.astype(np.int32)
    _, parts = kahip.kaffpa(*arrays, num_parts, MOST_ABOVE_MEAN, True, SEED, kahip.ECO)
    return np.asarray(parts, np.int64)


def partition_on_first_rank(edges: np.ndarray, num_own: int, num_parts: int, comm: MPI.Intracomm, how: Partition) -> np.ndarray:
    """Part of each of this rank's nodes, which are numbered through the ranks.

    Parameters
    ----------
    edges : ndarray
        int64, (2, edge): of this rank, in any direction, any number of times.
    num_own : int
        Nodes of this rank.
    num_parts : int
        Any number.
    comm : mpi4py.MPI.Intracomm
        The ranks.
    how : callable
        `metis` or `kahip`.

    Returns
    -------
    ndarray
        int64, (node,); it depends on the graph alone, not on who has which part of it.

    Raises
    ------
    ConfigError
        On every rank, where the package is not installed.

    Communication
    -------------
    Collective. The first rank holds the whole adjacency: 4 bytes for each node, 8 for each edge that joins two, and what the partitioner
    makes of it, some ten times as much. Others hold their share.
    """
    comm = patient(comm)
    counts = np.array(comm.allgather(num_own))
    total = int(counts.sum())
    block = block_range(total, comm.size, comm.rank)
    pairs = both_ways(distinct_pairs(edges.T[edges[0] != edges[1]])).T
    rows, others = np.unique(send_rows(owners_of(pairs[:, 0], total, comm.size), comm, pairs)[0], axis=0).T
    gathered = comm.gather((np.bincount(rows - block.start, minlength=block.size), others.astype(np.int32)))
    parts = np.zeros(0, np.int64)
    with raise_together(comm):
        if gathered is not None and total:
            degrees, neighbors = (np.concatenate(of) for of in zip(*gathered, strict=True))
            first = np.concatenate([[0], np.cumsum(degrees)])
            parts = how(first, neighbors, num_parts) if num_parts > 1 else np.zeros(total, np.int64)
    return send_rows(np.repeat(np.arange(comm.size), counts)[: len(parts)], comm, parts)[0]
