"""Broadcast, sum-reduce, all-reduce and all-gather as linear operators between values that differ from rank to rank.

    broadcast    x_root  ->  y_r = x_root           adjoint   sum_reduce
    all_reduce   x_r  ->  y_r = sum_s x_s           adjoint   itself
    all_gather   x_r  ->  y_r = (x_0, x_1, ...)     adjoint   x'_r = sum_s y'_s[r]

The inner product of such values is the sum over all ranks. For values that are the same on every rank see `hpcml.parallel.replicated`.
"""

import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.mpi.call import named_call
from hpcml.mpi.host_copy import Wire
from hpcml.mpi.meeting import meet
from hpcml.mpi.reductions import all_sum, facts
from hpcml.parallel.linear import pair, uncompiled
from hpcml.parallel.tiles import refuse_tiles


def _spread(how: tuple[MPI.Intracomm, int], x: Tensor) -> tuple[Tensor]:
    comm, root = how
    y = x.detach().clone(memory_format=torch.contiguous_format)
    if comm.size == 1:
        return (y,)
    meet(comm, "broadcast", root, *facts(y))
    wire = Wire(y)
    MPI.Intracomm.Bcast(comm, wire.spec, root)
    wire.land()
    return (y,)


def _collect(how: tuple[MPI.Intracomm, int], x: Tensor) -> tuple[Tensor]:
    comm, root = how
    total = all_sum(x, comm)
    return (total if comm.rank == root else torch.zeros_like(total),)


def _gather(how: tuple[MPI.Intracomm, str], x: Tensor) -> tuple[Tensor]:
    comm, alike = how
    if comm.size == 1:
        return (x[None].clone(memory_format=torch.contiguous_format),)
    gathered = x.new_empty((comm.size, *x.shape))
    meet(comm, "all-gather", *facts(x), *filter(None, [alike]))
    wire = Wire(gathered)
    MPI.Intracomm.Allgather(comm, Wire(x.contiguous()).spec, wire.spec)
    wire.land()
    return (gathered,)


_broadcast, _sum_reduce = pair(_spread, _collect)
_all_reduce, _ = pair(lambda comm, x: (all_sum(x, comm),), lambda comm, y: (all_sum(y, comm),))
_all_gather, _ = pair(_gather, lambda how, y: (all_sum(y, how[0])[how[0].rank],), batch=(0, 1))


@uncompiled
@named_call
def broadcast(comm: MPI.Intracomm, x: Tensor, root: int = 0) -> Tensor:
    """Give every rank the root's tensor.

    Parameters
    ----------
    comm : MPI.Intracomm
        The ranks.
    x : Tensor
        The value on ``root``; elsewhere any tensor of the same shape and dtype, whose values do not matter and whose gradient is zero.
    root : int
        Who gives.

    Returns
    -------
    Tensor
        Shape of ``x``.

    Communication
    -------------
    Collective over comm; the adjoint is `sum_reduce`.
    """
    return _broadcast((comm, root), x)[0]


@uncompiled
@named_call
def sum_reduce(comm: MPI.Intracomm, x: Tensor, root: int = 0) -> Tensor:
    """Sum over the ranks on the root; zeros elsewhere.

    Communication
    -------------
    Collective over comm; the adjoint is `broadcast`.
    """
    return _sum_reduce((comm, root), x)[0]


@uncompiled
@named_call
def all_reduce(comm: MPI.Intracomm, x: Tensor) -> Tensor:
    """Sum over the ranks on every rank, where each rank then uses it in its own way (statistics of a norm, a global mean).

    Communication
    -------------
    Collective over comm, forward and backward; self-adjoint.
    """
    refuse_tiles(comm, "a sum over ranks")
    return x.clone() if comm.size == 1 else _all_reduce(comm, x)[0]


@uncompiled
@named_call
def all_gather(comm: MPI.Intracomm, x: Tensor, alike: str = "") -> Tensor:
    """Every rank's tensor, stacked.

    Parameters
    ----------
    comm : MPI.Intracomm
        The ranks.
    x : Tensor
        Of the same shape and dtype on every rank.
    alike : str
        What else must be the same on every rank, in words.

    Returns
    -------
    Tensor
        (comm.size, *x.shape).

    Communication
    -------------
    Collective over comm; the adjoint is a sum-scatter.
    """
    return _all_gather((comm, alike), x)[0]
