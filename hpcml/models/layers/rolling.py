"""Rolling a field that many ranks share around its dims: torch's roll on one rank, its exact equal on any number."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hpcml.core.errors import ConfigError
from hpcml.fields.domain import Domain
from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.reach import Shifted, check_field, read_inputs
from hpcml.mpi.call import named_call


@named_call
def roll(x: Tensor, domain: Domain, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None) -> Tensor:
    """Roll a field around its spatial dims.

        y[i] = x[(i - shift) mod n]

    Parameters
    ----------
    x : Tensor
        (batch, channel, *domain.local_shape).
    domain : Domain
        Of the field.
    shifts : int or sequence of int
        Cells to move by, one number for each of ``dims``.
    dims : int or sequence of int, optional
        Spatial dims, counted from 0 or from -1; default the first ones, as many as there are shifts.

    Returns
    -------
    Tensor
        Like ``x``.

    Raises
    ------
    ConfigError
        If there are not as many shifts as dims, or a dim does not exist.

    Communication
    -------------
    All ranks that the cells come from and go to, one message each; the backward pass sends them back.
    """
    check_field(x, domain)
    every = _shift_of_every_dim(domain, shifts, dims)
    if domain.comm.size == 1:
        return torch.roll(x, every, tuple(range(-domain.num_dims, 0)))
    reaches = tuple(Shifted(shift % n) for shift, n in zip(every, domain.global_shape, strict=True))
    return read_inputs(x, domain, domain, reaches, ("periodic",) * domain.num_dims, copy=True)


@numbered
class Roll(nn.Module):
    """`roll` as a layer.

    Parameters
    ----------
    domain : Domain
        Of the field, and of the output too.
    shifts, dims
        As for `roll`.

    Communication
    -------------
    As for `roll`.
    """

    def __init__(self, domain: Domain, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None) -> None:
        super().__init__()
        _shift_of_every_dim(domain, shifts, dims)
        self.domain = self.domain_out = domain
        self.shifts, self.dims = shifts, dims

    def forward(self, x: Tensor) -> Tensor:
        """Roll this rank's block (batch, channel, *local_shape)."""
        return roll(x, self.domain, self.shifts, self.dims)


def _shift_of_every_dim(domain: Domain, shifts: int | Sequence[int], dims: int | Sequence[int] | None) -> tuple[int, ...]:
    given = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    where = tuple(range(len(given))) if dims is None else (dims,) if isinstance(dims, int) else tuple(dims)
    if len(given) != len(where) or any(not -domain.num_dims <= d < domain.num_dims for d in where):
        raise ConfigError(f"roll: shifts {given} along dims {where} of a field of {domain.num_dims} dims: give one shift for each dim")
    every = [0] * domain.num_dims
    for shift, d in zip(given, where, strict=True):
        every[d] += shift
    return tuple(every)
