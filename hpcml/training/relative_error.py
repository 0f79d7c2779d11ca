"""How far a prediction is off, as a share of what it should be."""

import math

import torch
from torch import Tensor

from hpcml.mpi.call import named_call
from hpcml.parallel.space import Space
from hpcml.parallel.sum_points import sum_points


@named_call
def relative_errors(space: Space, prediction: Tensor, target: Tensor) -> Tensor:
    """Relative L2 error |p - t| / |t| of each sample over channels and all points.

    It is 0 where both are zero, NaN where only the target is, and infinite for a prediction that is not finite.

    Parameters
    ----------
    space : Space
        Where the fields live.
    prediction, target : Tensor
        (sample, channel, *local_shape), or as the space has it, of any floating type and unit: squares are summed in float64.

    Returns
    -------
    Tensor
        float64, (sample,), the same on every rank of a group.

    Communication
    -------------
    Collective over space.comm: one all-reduce of two numbers per sample, or one sum over tiles.
    """

    def squares(p: Tensor, t: Tensor) -> list[Tensor]:
        p, size = (space.channels_first(field).double() for field in (p, t))
        return [field.flatten(1).square().sum(1) for field in (p - size, size)]

    off, whole = sum_points(space, space.comm, squares, prediction, target)
    errors = torch.where(off == 0, torch.zeros_like(off), torch.where(whole == 0, math.nan, (off / whole).sqrt()))
    return torch.where(off.isfinite(), errors, math.inf)


def mean_of_defined(errors: Tensor) -> tuple[float, int]:
    """Mean of those errors that are no NaN, itself NaN if there are none, and the number of the others.

    Examples
    --------
    >>> mean_of_defined(torch.tensor([0.5, math.nan, 0.25]))
    (0.375, 1)
    """
    return float(errors.nanmean()), int(errors.isnan().sum())
