"""Fields that a model is given: a state and what its simulation has as parameters, or the parameters and the time."""

import torch
from torch import Tensor

from hpcml.fields.domain import Domain


def inputs_of(states: Tensor | None, parameters: Tensor, times: Tensor, domain: Domain, dtype: torch.dtype) -> Tensor:
    """Inputs of some samples.

        (state, parameter 1, parameter 2, ...)    or    (parameter 1, parameter 2, ..., time)

    Parameters
    ----------
    states : Tensor or None
        (sample, channel, *local_shape); None where parameters and time are all that is given.
    parameters : Tensor, (sample, parameter)
        Of the simulation of each.
    times : Tensor, (sample,)
        Of each.
    domain : Domain
        Where fields live.
    dtype : torch.dtype
        Of the fields.

    Returns
    -------
    Tensor
        (sample, channel, *local_shape) on the device of the domain; numbers are channels that are the same in every cell, which take no
        memory of their own where there is no state.

    Communication
    -------------
    Local.
    """
    known = parameters if states is not None else torch.cat([parameters, times[:, None].to(parameters)], 1)
    constant = known.to(domain.device, dtype).view(*known.shape, *(1,) * domain.num_dims).expand(*known.shape, *domain.local_shape)
    if states is None:
        return constant
    return torch.cat([states, constant], 1) if known.shape[1] else states
