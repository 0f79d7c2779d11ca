"""The loss of each sample of an update by itself, for a sampler."""

import torch
from torch import Tensor

from hpcml.fields.domain import Domain
from hpcml.parallel.sum_points import sum_points


def sample_losses(domain: Domain, prediction: Tensor, target: Tensor, relative: bool) -> Tensor:
    """Relative error |p - t| / |t| of each sample, or the mean square of its difference; what is zero counts as the least number there is.

    Parameters
    ----------
    domain : Domain
        Where they live.
    prediction, target : Tensor
        (sample, channel, *local_shape).
    relative : bool
        Which of both.

    Returns
    -------
    Tensor
        float64, (sample,), the same on every rank of a group.

    Communication
    -------------
    Collective over domain.comm: one all-reduce of one or two numbers per sample.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> from hpcml.fields import Grid, decompose
    >>> domain = decompose(Grid((4,)), MPI.COMM_SELF)
    >>> sample_losses(domain, torch.ones(1, 1, 4), torch.full((1, 1, 4), 2.0), relative=True)
    tensor([0.5000], dtype=torch.float64)
    """

    def squares(p: Tensor, t: Tensor) -> list[Tensor]:
        fields = [p - t, t] if relative else [p - t]
        return [torch.linalg.vector_norm(u.flatten(1), dim=1, dtype=torch.float64).square() for u in fields]

    alone = domain.comm.size == 1 and domain.tiles is None  # at every update, so that what sums over ranks cost would count
    above, *below = squares(prediction, target) if alone else sum_points(domain, domain.comm, squares, prediction, target)
    if relative:
        return (above / below[0].clamp_min(torch.finfo(torch.float64).tiny)).sqrt()
    return above / (target.shape[1] * domain.num_points_global)
