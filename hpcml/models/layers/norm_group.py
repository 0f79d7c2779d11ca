"""Group norm over the whole field of every sample."""

from typing import Any

from torch import Tensor, nn

from hpcml.models.layers.norm_statistics import as_autocast, leaves_float32
from hpcml.models.layers.norm_tiles import normalise_tilewise
from hpcml.models.layers.normalise import normalise
from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.parameters import columns
from hpcml.models.layers.reach import check_field
from hpcml.parallel.space import Space


@numbered
class GroupNorm(nn.GroupNorm):
    """Normalise each group of channels of each sample by its mean and variance over the whole field.

        y = (x - mean_bg) / sqrt(var_bg + eps) * weight_c + bias_c

    Parameters
    ----------
    space : Space
        Where the fields live.
    num_groups, num_channels, eps, affine
        As in `torch.nn.GroupNorm`.

    Raises
    ------
    ShapeError
        For a tensor that is not this rank's block.

    Communication
    -------------
    Collective over space.comm: forward one all-gather of two numbers per group and sample, backward one all-reduce; and one over
    space.world_comm for the gradients of weight and bias.

    Notes
    -----
    The state dict is torch's, and on one rank the layer is torch's.
    """

    takes_wide = same_bits = True

    def __init__(self, space: Space, num_groups: int, num_channels: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(num_groups, num_channels, *args, **kwargs)
        self.space = space

    def forward(self, input: Tensor) -> Tensor:
        check_field(input, self.space, self.num_channels, "GroupNorm", self.weight, mixed=True)
        if self.space.tiles is not None:
            return normalise_tilewise(self, input, self.num_groups, over_samples=False)[0]
        return self.space.as_field(self._normalised(self.space.channels_first(input)), input)

    def _normalised(self, input: Tensor) -> Tensor:
        comm = self.space.world_comm
        if comm.size == 1 and not leaves_float32(input):
            return super().forward(input)
        grouped = as_autocast(input).unflatten(1, (self.num_groups, self.num_channels // self.num_groups))
        affine = (None if p is None else p.unflatten(0, grouped.shape[1:3]) for p in columns(self, comm, *(1,) * self.space.num_dims))
        y, *_ = normalise(grouped, range(2, grouped.dim()), self.space.comm, self.eps, *affine)
        return y.flatten(1, 2)
