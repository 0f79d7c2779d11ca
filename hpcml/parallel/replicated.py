"""Values that are the same on every rank: how a rank uses one, and how the ranks make one.

A replicated value is one vector, however many ranks hold a copy; its inner product counts once. Using it on every rank and summing what
every rank has are then each other's adjoint:

    replicated   w  ->  w_r = w               adjoint   w' = sum_r w'_r      (parameters)
    global_sum   x_r  ->  s = sum_r x_r       adjoint   x'_r = s'            (losses)
"""

from collections.abc import Sequence

import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.mpi.call import named_call
from hpcml.mpi.reductions import all_sum
from hpcml.parallel.linear import pair, uncompiled
from hpcml.parallel.tiles import refuse_tiles


def sum_together(values: Sequence[Tensor], comm: MPI.Intracomm) -> list[Tensor]:
    """Sum every tensor over the ranks, all tensors of one precision in one message; not differentiable.

    Communication
    -------------
    Collective over comm: one all-reduce per precision.
    """
    sums: dict[int, Tensor] = {}
    flat = [(torch.view_as_real(v.resolve_conj()) if v.is_complex() else v).reshape(-1) for v in values]
    for dtype in dict.fromkeys(v.dtype for v in flat):
        chosen = sorted((k for k, v in enumerate(flat) if v.dtype == dtype), key=lambda k: not values[k].is_complex())  # pairs stay aligned
        parts = all_sum(torch.cat([flat[k] for k in chosen]), comm).split([flat[k].numel() for k in chosen])
        sums.update((k, part.view(values[k].dtype).view(values[k].shape)) for k, part in zip(chosen, parts, strict=True))
    return [sums[k] for k in range(len(values))]


_replicated, _global_sum = pair(lambda _, *values: [v.view_as(v) for v in values], lambda comm, *values: sum_together(values, comm))


@uncompiled
@named_call
def replicated(comm: MPI.Intracomm, *values: Tensor) -> tuple[Tensor, ...]:
    """Use replicated values, such as parameters, in this rank's part of the work.

    Parameters
    ----------
    comm : MPI.Intracomm
        All ranks that use the values.
    *values : Tensor
        The same on every rank.

    Returns
    -------
    tuple of Tensor
        The same values; the gradient of each is the sum of all ranks' gradients, on every rank.

    Communication
    -------------
    Forward: local. Backward: one all-reduce for all values together.

    Notes
    -----
    What this function returned may be given to it again, by the layers of a network that has called it for all of its parameters at once,
    and is then returned as it is: one sum is the whole sum.

    Examples
    --------
    >>> weight, bias = replicated(comm, self.weight, self.bias)  # doctest: +SKIP
    """
    refuse_tiles(comm, "the sum of gradients")
    if comm.size == 1 or all(getattr(v, "replicated_over", None) is comm for v in values):
        return values
    used: tuple[Tensor, ...] = _replicated(comm, *values)
    for value in used:
        value.replicated_over = comm  # type: ignore[attr-defined]
    return used


@uncompiled
@named_call
def global_sum(comm: MPI.Intracomm, *values: Tensor) -> tuple[Tensor, ...]:
    """Sum each value over the ranks into a replicated one, such as a loss.

    Parameters
    ----------
    comm : MPI.Intracomm
        The ranks to sum over.
    *values : Tensor
        This rank's shares, of any shape, the same on all ranks.

    Returns
    -------
    tuple of Tensor
        The sums, the same on every rank. When every rank calls ``backward`` on one, the gradient is that of the one number, not of as
        many copies as there are ranks.

    Communication
    -------------
    Forward: one all-reduce for all values together. Backward: local.
    """
    refuse_tiles(comm, "a sum over ranks")
    if comm.size == 1:
        return tuple(v.clone() for v in values)
    return _global_sum(comm, *values)
