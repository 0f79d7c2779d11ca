"""How many threads a rank may use, so that the ranks of a node share its cores."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mpi4py import MPI
from threadpoolctl import ThreadpoolController


def limit_threads(node: MPI.Intracomm) -> int:
    """Lower the threads of BLAS, OpenMP and torch to this rank's share of the cores it may run on.

    share = max(1, cores in the affinity mask // ranks of the node with the same mask)

    Parameters
    ----------
    node : mpi4py.MPI.Intracomm
        The ranks of one node.

    Returns
    -------
    int
        Threads that a parallel loop of this rank uses.

    Communication
    -------------
    Collective over ``node``: one affinity mask of each rank.

    Notes
    -----
    A set ``OMP_NUM_THREADS`` is the user's word: then nothing is changed. Numbers are only ever lowered. A library that is loaded later
    reads the share from ``OMP_NUM_THREADS``, which is set for it (and for child processes).
    """
    mine = tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else tuple(range(os.cpu_count() or 1))
    masks = node.allgather(mine)  # before the variable is looked at, which may be set on some ranks only
    if os.environ.get("OMP_NUM_THREADS", "").isdecimal():
        return int(os.environ["OMP_NUM_THREADS"])
    share = max(1, len(mine) // masks.count(mine))
    os.environ["OMP_NUM_THREADS"] = str(share)
    for library in ThreadpoolController().lib_controllers:
        if library.num_threads > share:
            library.set_num_threads(share)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(min(share, torch.get_num_threads()))
    return share


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Hold torch to one thread in a block, or in every call of a function that this decorates.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> import torch
    >>> with one_torch_thread():
    ...     torch.get_num_threads()
    1
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
