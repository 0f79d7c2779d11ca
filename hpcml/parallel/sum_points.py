"""Sums over all points of a space."""

from collections.abc import Callable, Sequence

from mpi4py import MPI
from torch import Tensor

from hpcml.mpi.call import named_call
from hpcml.parallel.replicated import global_sum
from hpcml.parallel.space import Space
from hpcml.parallel.tiles import by_tile


@named_call
def sum_points(space: Space, comm: MPI.Intracomm, function: Callable[..., Sequence[Tensor]], *fields: Tensor) -> tuple[Tensor, ...]:
    """Sum over the points of all ranks what a function gives for those of one.

    Parameters
    ----------
    space : Space
        Where the fields live.
    comm : MPI.Intracomm
        ``space.comm``, or ``space.world_comm`` for a sum over groups of ranks too.
    function : callable
        Of fields, or of some of their points: gives tensors whose shape does not depend on the number of points, each a sum over them.
    *fields : Tensor
        On the space.

    Returns
    -------
    tuple of Tensor
        The sums, the same on every rank; the gradient is that of one number, see `hpcml.parallel.replicated.global_sum`. On a space with
        tiles they have the same bits on any number of ranks.

    Communication
    -------------
    Forward: one all-reduce for all sums together, or one sum over tiles. Backward: local.

    Examples
    --------
    >>> from hpcml.fields import Grid, decompose
    >>> import torch
    >>> domain = decompose(Grid((8,)), MPI.COMM_SELF)
    >>> sum_points(domain, domain.comm, lambda u: [u.sum()], torch.ones(1, 1, 8))
    (tensor(8.),)
    """
    if space.tiles is None:
        return global_sum(comm, *function(*fields))
    parts = by_tile(lambda _, *rows: function(*rows), space.tile_sizes["field"], space.tile_dim, *fields)
    return space.tiles.total_of(*zip(*parts, strict=True))
