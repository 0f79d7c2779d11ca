"""Group norm over the whole field of every sample."""

from typing import Any

from torch import Tensor, nn

from hpcml.fields.domain import Domain
from hpcml.models.layers.norm_statistics import check_channels, moments, normalize, replicated_affine
from hpcml.models.layers.reach import check_field


class GroupNorm(nn.GroupNorm):
    """Normalise each group of channels of each sample by its mean and variance over the whole field.

        y = (x - mean_bg) / sqrt(var_bg + eps) * weight_c + bias_c

    Parameters
    ----------
    domain : Domain
        Where the fields live, of 1 to 3 dims.
    num_groups, num_channels, eps, affine
        As in `torch.nn.GroupNorm`.

    Raises
    ------
    ShapeError
        For a tensor that is not this rank's block.

    Communication
    -------------
    Collective over domain.comm: forward one all-gather of two numbers per group and sample, backward one all-reduce; and one over
    domain.world_comm for the gradients of weight and bias.

    Notes
    -----
    The state dict is torch's, and on one rank the layer is torch's.
    """

    def __init__(self, domain: Domain, num_groups: int, num_channels: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(num_groups, num_channels, *args, **kwargs)
        self.domain = self.domain_out = domain

    def forward(self, input: Tensor) -> Tensor:
        check_field(input, self.domain)
        check_channels(self, input, self.num_channels)
        comm = self.domain.world_comm
        if comm.size == 1:
            return super().forward(input)
        grouped = input.unflatten(1, (self.num_groups, -1))
        mean, variance, _ = moments(grouped, range(2, grouped.dim()), self.domain.comm)
        column = (self.num_groups, -1, *(1,) * self.domain.num_dims)
        affine = (None if p is None else p.view(column) for p in replicated_affine(comm, self.weight, self.bias))
        return normalize(grouped, mean, variance, self.eps, *affine).flatten(1, 2)
