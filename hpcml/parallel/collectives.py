"""Broadcast, sum-reduce, all-reduce and all-gather as linear operators between values that differ from rank to rank.

    broadcast    x_root  ->  y_r = x_root           adjoint   sum_reduce
    all_reduce   x_r  ->  y_r = sum_s x_s           adjoint   itself
    all_gather   x_r  ->  y_r = (x_0, x_1, ...)     adjoint   x'_r = sum_s y'_s[r]

The inner product of such values is the sum over all ranks. For values that are the same on every rank see `hpcml.parallel.replicated`.
"""

import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.mpi.call import CallFunction, named_call
from hpcml.mpi.meeting import meet
from hpcml.mpi.reductions import all_sum, facts


class _Broadcast(CallFunction):
    @staticmethod
    def forward(ctx, comm: MPI.Intracomm, root: int, x: Tensor):  # type: ignore[no-untyped-def,override]
        ctx.comm, ctx.root = comm, root
        y = x.detach().clone(memory_format=torch.contiguous_format)
        meet(comm, "broadcast", root, *facts(y))
        MPI.Intracomm.Bcast(comm, [y.view(-1).view(torch.uint8).numpy(), MPI.BYTE], root)
        return y

    @staticmethod
    def backward(ctx, cotangent: Tensor):  # type: ignore[no-untyped-def,override]
        return None, None, _SumReduce.apply(ctx.comm, ctx.root, cotangent)


class _SumReduce(CallFunction):
    @staticmethod
    def forward(ctx, comm: MPI.Intracomm, root: int, x: Tensor):  # type: ignore[no-untyped-def,override]
        ctx.comm, ctx.root = comm, root
        total = all_sum(x, comm)
        return total if comm.rank == root else torch.zeros_like(total)

    @staticmethod
    def backward(ctx, cotangent: Tensor):  # type: ignore[no-untyped-def,override]
        return None, None, _Broadcast.apply(ctx.comm, ctx.root, cotangent)


class _AllReduce(CallFunction):
    @staticmethod
    def forward(ctx, comm: MPI.Intracomm, x: Tensor):  # type: ignore[no-untyped-def,override]
        ctx.comm = comm
        return all_sum(x, comm)

    @staticmethod
    def backward(ctx, cotangent: Tensor):  # type: ignore[no-untyped-def,override]
        return None, _AllReduce.apply(ctx.comm, cotangent)


class _AllGather(CallFunction):
    @staticmethod
    def forward(ctx, comm: MPI.Intracomm, x: Tensor):  # type: ignore[no-untyped-def,override]
        ctx.comm = comm
        gathered = x.new_empty((comm.size, *x.shape))
        meet(comm, "all-gather", *facts(x))
        MPI.Intracomm.Allgather(
            comm, [x.contiguous().view(-1).view(torch.uint8).numpy(), MPI.BYTE], [gathered.view(-1).view(torch.uint8).numpy(), MPI.BYTE]
        )
        return gathered

    @staticmethod
    def backward(ctx, cotangent: Tensor):  # type: ignore[no-untyped-def,override]
        return None, _AllReduce.apply(ctx.comm, cotangent)[ctx.comm.rank]


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
    return _Broadcast.apply(comm, root, x)


@named_call
def sum_reduce(comm: MPI.Intracomm, x: Tensor, root: int = 0) -> Tensor:
    """Sum over the ranks on the root; zeros elsewhere.

    Communication
    -------------
    Collective over comm; the adjoint is `broadcast`.
    """
    return _SumReduce.apply(comm, root, x)


@named_call
def all_reduce(comm: MPI.Intracomm, x: Tensor) -> Tensor:
    """Sum over the ranks on every rank, where each rank then uses it in its own way (statistics of a norm, a global mean).

    Communication
    -------------
    Collective over comm, forward and backward; self-adjoint.
    """
    return x.clone() if comm.size == 1 else _AllReduce.apply(comm, x)


@named_call
def all_gather(comm: MPI.Intracomm, x: Tensor) -> Tensor:
    """Every rank's tensor, stacked.

    Parameters
    ----------
    comm : MPI.Intracomm
        The ranks.
    x : Tensor
        Of the same shape and dtype on every rank.

    Returns
    -------
    Tensor
        (comm.size, *x.shape).

    Communication
    -------------
    Collective over comm; the adjoint is a sum-scatter.
    """
    return _AllGather.apply(comm, x)
