"""Group norm over the whole field of every sample."""

from typing import Any

from torch import Tensor, nn

from hpcml.fields.domain import Domain
from hpcml.models.layers.norm_statistics import as_autocast, leaves_float32
from hpcml.models.layers.normalise import normalise
from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.parameters import columns
from hpcml.models.layers.reach import check_field


@numbered
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

    takes_wide = True

    def __init__(self, domain: Domain, num_groups: int, num_channels: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(num_groups, num_channels, *args, **kwargs)
        self.domain = self.domain_out = domain

    def forward(self, input: Tensor) -> Tensor:
        check_field(input, self.domain, self.num_channels, "GroupNorm")
        comm = self.domain.world_comm
        if comm.size == 1 and not leaves_float32(input):
            return super().forward(input)
        grouped = as_autocast(input).unflatten(1, (self.num_groups, self.num_channels // self.num_groups))
        affine = (None if p is None else p.unflatten(0, grouped.shape[1:3]) for p in columns(self, comm, *(1,) * self.domain.num_dims))
        y, *_ = normalise(grouped, range(2, grouped.dim()), self.domain.comm, self.eps, *affine)
        return y.flatten(1, 2)
