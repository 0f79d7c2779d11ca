"""Few queries that attend to all points of a space, wherever these lie: what is merged over ranks does not grow with the points.

m = max_i s_i        l = sum_i exp(s_i - m)        o = sum_i exp(s_i - m) v_i        y = o / l
"""

from typing import Any

import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.models.layers.norm_statistics import accurate
from hpcml.models.layers.tilewise import sum_tilewise, tilewise
from hpcml.mpi.reductions import all_max
from hpcml.parallel.linear import uncompiled
from hpcml.parallel.space import Space


@uncompiled
def weighted_sums(weights: Tensor, values: Tensor, space: Space) -> tuple[Tensor, Tensor]:
    """Sums over the points of all ranks, of values with weights, and of the weights.

    Parameters
    ----------
    weights : Tensor
        (..., point, query).
    values : Tensor
        (..., point, channel).
    space : Space
        Whose ranks share the points; a rank may have none.

    Returns
    -------
    Tensor, Tensor
        (..., query, channel) and (..., query, 1), in float32 or wider. Each rank uses them in its own way; where the space has tiles, in
        the same way, see `hpcml.models.layers.tilewise.alike`.

    Communication
    -------------
    Collective over space.comm: one all-reduce of channel + 1 numbers for each query, forward and backward.
    """
    sums = sum_tilewise(space, _own_sums, weights, values)
    return sums[..., :-1], sums[..., -1:]


def attend_to_points(scores: Tensor, values: Tensor, space: Space, others: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Mean of the values of all points, weighted by the softmax of the scores over the points.

    Parameters
    ----------
    scores : Tensor
        (..., point, query).
    values : Tensor
        (..., point, channel).
    space : Space
        Whose ranks share the points; a rank may have none.
    others : (Tensor, Tensor), optional
        Scores (..., other, query) and values (..., other, channel) of more than the points, the same on every rank.

    Returns
    -------
    Tensor
        (..., query, channel), in float32 or wider; differentiable any number of times.

    Communication
    -------------
    Collective over space.comm: forward an all-reduce of one number for each query, the maximum, and one of channel + 1; backward one of the
    latter size.

    References
    ----------
    The merge of parts of a softmax is that of T. Dao et al., arXiv:2205.14135.
    """
    wide = scores.to(accurate(scores.dtype))
    highest = _highest(wide if others is None else torch.cat([wide, others[0].to(wide.dtype)], -2), space.comm)
    exponentials = tilewise(space, lambda rows: torch.exp(rows - highest), wide, on="points")
    total, count = weighted_sums(exponentials, values, space)
    if others is not None:
        weights = torch.exp(others[0].to(wide.dtype) - highest)
        total, count = total + torch.matmul(weights.mT, others[1].to(weights.dtype)), count + weights.sum(-2).unsqueeze(-1)
    return total / count


def _own_sums(weights: Tensor, values: Tensor) -> Tensor:
    wide = accurate(weights.dtype)
    return torch.cat([torch.matmul(weights.mT, values.to(weights.dtype)).to(wide), weights.sum(-2, dtype=wide).unsqueeze(-1)], -1)


@uncompiled
def _highest(scores: Tensor, comm: MPI.Intracomm) -> Tensor:
    """Largest score of each query on any rank, (..., 1, query): a softmax does not depend on what is subtracted, so it has no gradient."""
    scores = scores.detach()
    own = scores.amax(-2, keepdim=True) if scores.shape[-2] else scores.new_full((*scores.shape[:-2], 1, scores.shape[-1]), -torch.inf)
    highest: Any = all_max(own, comm)
    return highest
