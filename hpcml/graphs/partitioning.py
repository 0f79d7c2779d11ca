"""Which part of a graph each node is in: by the places of nodes, by how they are joined, or as the user says."""

from functools import partial

import numpy as np
from mpi4py import MPI

from hpcml.core.errors import ShapeError
from hpcml.graphs.positions import checked_graph, first_numbers
from hpcml.mpi.agreement import raise_together
from hpcml.mpi.call import named_call
from hpcml.mpi.meeting import meet
from hpcml.mpi.patient_comm import patient
from hpcml.topology.adjacency_partition import kahip, metis, partition_on_first_rank
from hpcml.topology.bisection import recursive_bisection
from hpcml.topology.curve import space_filling_curve

BY_PLACES = {"bisection": recursive_bisection, "curve": space_filling_curve}
BY_EDGES = {"metis": partial(partition_on_first_rank, how=metis), "kahip": partial(partition_on_first_rank, how=kahip)}
METHODS = (*BY_PLACES, *BY_EDGES)


@named_call
def partition(
    positions: np.ndarray, edges: np.ndarray, num_parts: int, comm: MPI.Intracomm, method: str | np.ndarray = "bisection"
) -> np.ndarray:
    """Part of each of this rank's nodes.

    Parameters
    ----------
    positions : ndarray
        float64, (node, 1 to 3): of this rank's nodes, which are numbered through the ranks.
    edges : ndarray
        int64, (2, edge): of this rank, by global numbers.
    num_parts : int
        Any number, whatever that of the ranks.
    comm : mpi4py.MPI.Intracomm
        The ranks.
    method : str or ndarray
        ``bisection``: in parallel, by places, parts of one size; ``curve``: the same along Hilbert's curve, quicker, with more edges cut;
        ``metis`` and ``kahip``: the fewest edges cut, parts of nearly one size, by programs that run on the first rank and hold all edges
        there. Or an array: it is checked and given back.

    Returns
    -------
    ndarray
        int64, (node,). It depends on the graph and on the number of parts alone.

    Raises
    ------
    ShapeError
        On every rank: an unknown method, an array of another size or of other parts, positions that are not finite, edges of nodes that do
        not exist.
    ConfigError
        On every rank, where the package of a method is not installed.

    Communication
    -------------
    Collective; see `hpcml.topology.bisection.recursive_bisection` and `hpcml.topology.adjacency_partition.partition_on_first_rank`.

    Examples
    --------
    >>> partition(np.array([[0.0], [3.0], [1.0], [2.0]]), np.zeros((2, 0), int), 2, MPI.COMM_SELF).tolist()
    [0, 1, 0, 1]
    """
    comm = patient(comm)
    with raise_together(comm):
        points, ends = checked_graph(positions, edges)
        check_method(method, len(points), num_parts)
    first_numbers(points, ends, comm)
    return parts_of(points, ends, num_parts, comm, method)


def parts_of(positions: np.ndarray, edges: np.ndarray, num_parts: int, comm: MPI.Intracomm, method: str | np.ndarray) -> np.ndarray:
    """Part of each node, see `partition`, of arrays that are known to be right on every rank.

    Communication
    -------------
    Collective, as `partition`.
    """
    meet(comm, "parts", method if isinstance(method, str) else "a map", num_parts)
    if not isinstance(method, str):
        return np.asarray(method, np.int64)
    if method in BY_EDGES:
        return BY_EDGES[method](edges, len(positions), num_parts, comm)
    first = sum(comm.allgather(len(positions))[: comm.rank])
    return BY_PLACES[method](positions, np.arange(first, first + len(positions)), num_parts, comm)


def check_method(method: str | np.ndarray, count: int, num_parts: int) -> None:
    """Raise `ShapeError` unless it is a method's name, or a part for each of so many nodes, and there is a part."""
    if num_parts < 1:
        raise ShapeError(f"a graph has one part or more, got {num_parts}")
    if isinstance(method, str):
        if method not in METHODS:
            raise ShapeError(f"no way {method!r} to deal a graph: expected {', '.join(METHODS)} or an array of ranks")
        return
    parts = np.asarray(method)
    if parts.shape != (count,) or (count and (parts.dtype.kind not in "iu" or not 0 <= parts.min() <= parts.max() < num_parts)):
        raise ShapeError(
            f"a map of {count} nodes to {num_parts} ranks has as many integers from 0 to {num_parts - 1}, got {parts.dtype} {parts.shape}"
        )
