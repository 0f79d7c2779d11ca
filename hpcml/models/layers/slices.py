"""Cutting out and thinning a field that many ranks share: basic slicing on one rank, its exact equal on any number."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from hpcml.core.errors import ConfigError, ShapeError
from hpcml.fields.domain import Domain
from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.reach import Stencil, check_field, read_inputs


@numbered
class Slice(nn.Module):
    """``x[..., start:stop:step]`` along every dim, in memory of its own on any number of ranks, where slicing a tensor gives a view.

    Parameters
    ----------
    domain : Domain
        Of the input.
    *slices : slice
        One for each dim, with Python's meaning: negative indices count from the end, steps are positive.

    Attributes
    ----------
    domain_out : Domain
        Of the output: a field of its own, dealt to all ranks by the ownership rule, in the same box.

    Raises
    ------
    ConfigError
        For a step that is not positive, or another number of slices than dims.
    ShapeError
        If nothing is left.

    Communication
    -------------
    All ranks that hold the cells of this rank's part of the output, one message each; the backward pass sends them back.

    Examples
    --------
    >>> import torch
    >>> from mpi4py import MPI
    >>> from hpcml.fields import Grid, decompose
    >>> domain = decompose(Grid(6), MPI.COMM_SELF)
    >>> Slice(domain, slice(1, None, 2))(torch.arange(6.0).view(1, 1, 6))
    tensor([[[1., 3., 5.]]])
    """

    def __init__(self, domain: Domain, *slices: slice) -> None:
        super().__init__()
        self.domain = domain
        runs = _runs(domain, slices)
        self.domain_out = domain.with_shape([len(run) for run in runs])
        self._reaches = tuple(Stencil(1, run.step, before=-run.start) for run in runs)
        self._index: tuple[Any, ...] = (..., *slices)
        self._thin: tuple[Any, ...] = (..., *(slice(None, None, run.step) for run in runs))

    def forward(self, x: Tensor) -> Tensor:
        """Slice this rank's block (batch, channel, *local_shape) to that of ``domain_out``."""
        check_field(x, self.domain)
        if self.domain.comm.size == 1:
            return x[self._index].clone()
        x = read_inputs(x, self.domain, self.domain_out, self._reaches, ("zero",) * self.domain.num_dims, copy=True)
        return x[self._thin]


def _runs(domain: Domain, slices: Sequence[slice]) -> list[range]:
    """Inputs that are kept, for each dim."""
    if len(slices) != domain.num_dims or any(s.step is not None and s.step < 1 for s in slices):
        raise ConfigError(f"Slice: {list(slices)} of a field of {domain.num_dims} dims: give one slice with a positive step for each")
    runs = [range(*s.indices(n)) for s, n in zip(slices, domain.global_shape, strict=True)]
    if not all(runs):
        raise ShapeError(f"Slice: {list(slices)} leaves nothing of a field of {domain.global_shape}")
    return runs
