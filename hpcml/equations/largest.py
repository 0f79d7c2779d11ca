"""Largest size of every channel, which decides how far a step may go."""

import torch
from torch import Tensor

from hpcml.fields.domain import Domain
from hpcml.mpi.reductions import all_max


def largest(state: Tensor, domain: Domain) -> list[float]:
    """Largest absolute value of each channel over all samples, cells and ranks; 0 where there is no sample.

    Parameters
    ----------
    state : Tensor
        (batch, channel, *local_shape).
    domain : Domain
        Where it lives.

    Communication
    -------------
    One all-reduce over all ranks.
    """
    sizes = state.detach().abs().transpose(0, 1).flatten(1)
    return all_max(sizes.amax(1) if sizes.shape[1] else torch.zeros_like(sizes[:, 0:1].sum(1)), domain.world_comm).tolist()
