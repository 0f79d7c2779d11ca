"""Mean and deviation of fields over a whole space."""

from functools import partial

from torch import Tensor

from hpcml.mpi.call import named_call
from hpcml.parallel.space import Space
from hpcml.parallel.sum_points import sum_points


@named_call
def moments(space: Space, fields: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every channel over samples and all points, each of shape (channel,).

    Communication
    -------------
    Collective over space.comm: two all-reduces.
    """
    first = space.channels_first(fields)
    dims, count = [d for d in range(first.dim()) if d != 1], len(first) * space.num_points_global

    def sums(u: Tensor, mean: Tensor | None = None) -> list[Tensor]:
        wide = space.channels_first(u).double()
        return [(wide if mean is None else (wide - mean.view(-1, *(1,) * space.num_dims)).square()).sum(dims)]

    mean = sum_points(space, space.comm, sums, fields)[0] / count
    variance = sum_points(space, space.comm, partial(sums, mean=mean), fields)[0] / count
    return mean.to(fields.dtype), variance.sqrt().to(fields.dtype)
