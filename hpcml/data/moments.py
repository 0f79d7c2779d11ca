"""Mean and deviation of fields over a whole space."""

from torch import Tensor

from hpcml.mpi.call import named_call
from hpcml.mpi.reductions import all_sum
from hpcml.parallel.space import Space


@named_call
def moments(space: Space, fields: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every channel over samples and all points, each of shape (channel,).

    Communication
    -------------
    Collective over space.comm: two all-reduces.
    """
    wide = space.channels_first(fields).double()
    dims = [d for d in range(wide.dim()) if d != 1]
    count = len(wide) * space.num_points_global
    mean = all_sum(wide.sum(dims), space.comm) / count
    variance = all_sum((wide - mean.view(-1, *(1,) * space.num_dims)).square().sum(dims), space.comm) / count
    return mean.to(fields.dtype), variance.sqrt().to(fields.dtype)
