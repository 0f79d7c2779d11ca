"""How far a prediction is off, as a share of what it should be."""

import math

import torch
from torch import Tensor

from hpcml.fields.domain import Domain
from hpcml.mpi.call import named_call
from hpcml.mpi.reductions import all_sum


@named_call
def relative_errors(domain: Domain, prediction: Tensor, target: Tensor) -> Tensor:
    """Relative L2 error |p - t| / |t| of each sample over channels and the whole grid; 0 where both are zero, NaN where only the target is.

    Parameters
    ----------
    domain : Domain
        Where the fields live.
    prediction, target : Tensor
        (sample, channel, *local_shape), of any floating type and unit: squares are summed in float64.

    Returns
    -------
    Tensor
        float64, (sample,), the same on every rank of a group.

    Communication
    -------------
    Collective over domain.comm: one all-reduce of two numbers per sample.
    """
    difference, size = prediction.double() - target.double(), target.double()
    parts = torch.stack([field.flatten(1).square().sum(1) for field in (difference, size)])
    off, whole = all_sum(parts, domain.comm)
    return torch.where(off == 0, torch.zeros_like(off), torch.where(whole == 0, math.nan, (off / whole).sqrt()))


def mean_of_defined(errors: Tensor) -> tuple[float, int]:
    """Mean of those errors that are no NaN, itself NaN if there are none, and the number of the others.

    Examples
    --------
    >>> mean_of_defined(torch.tensor([0.5, math.nan, 0.25]))
    (0.375, 1)
    """
    return float(errors.nanmean()), int(errors.isnan().sum())
