"""Mean and deviation of fields over a whole space."""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from hpcml.mpi.call import named_call
from hpcml.parallel.space import Space
from hpcml.parallel.sum_points import sum_points


@named_call
def moments(space: Space, fields: Tensor, *more: tuple[Space, Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every channel over samples and all points, each of shape (channel,).

    Parameters
    ----------
    space : Space
        Where samples live.
    fields : Tensor
        (sample, channel, *local_shape), or as the space has it.
    *more : tuple of Space and Tensor
        Samples on other spaces, which count too.

    Communication
    -------------
    Collective over the comm of each space: two all-reduces.
    """
    every = [(space, fields), *more]
    count = sum(len(where.channels_first(u)) * where.num_points_global for where, u in every)
    mean = _total(every, lambda wide: wide) / count
    variance = _total(every, lambda wide: (wide - mean.view(-1, *(1,) * (wide.dim() - 2))).square()) / count
    return mean.to(fields.dtype), variance.sqrt().to(fields.dtype)


def _total(fields: Sequence[tuple[Space, Tensor]], function: Callable[[Tensor], Tensor]) -> Tensor:
    """Sum of a function of (sample, channel, *local_shape) over samples and points."""

    def sums(space: Space, u: Tensor) -> list[Tensor]:
        wide = function(space.channels_first(u).double())
        return [wide.sum([d for d in range(wide.dim()) if d != 1])]

    parts = [sum_points(space, space.comm, partial(sums, space), u)[0] for space, u in fields]
    return sum(parts[1:], start=parts[0])
