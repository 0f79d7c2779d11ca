"""Instance norm over the whole field of every sample."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hpcml.core.errors import ShapeError
from hpcml.models.layers.norm_statistics import leaves_float32, track
from hpcml.models.layers.norm_tiles import normalise_tilewise, scale_tilewise
from hpcml.models.layers.normalise import normalise
from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.parameters import columns
from hpcml.models.layers.reach import check_field, check_num_dims
from hpcml.mpi.reductions import all_sum
from hpcml.parallel.space import Space


@numbered
class _InstanceNorm(nn.modules.instancenorm._InstanceNorm):
    """What the three have in common; see `InstanceNorm2d`."""

    takes_wide = same_bits = True
    num_dims: ClassVar[int]

    def __init__(self, space: Space, num_features: int, *args: Any, **kwargs: Any) -> None:
        check_num_dims(type(self).__name__, space, self.num_dims)
        if space.num_points_global == 1:
            raise ShapeError("instance norm needs a field of more than one point")
        super().__init__(num_features, *args, **kwargs)
        self.space = space

    def forward(self, input: Tensor) -> Tensor:
        check_field(input, self.space, self.num_features, type(self).__name__, self.weight, mixed=True)
        if self.space.tiles is not None:
            return self._by_tiles(input)
        return self.space.as_field(self._normalised(self.space.channels_first(input)), input)

    def _normalised(self, input: Tensor) -> Tensor:
        comm = self.space.world_comm
        from_sample = self.training or not self.track_running_stats
        if comm.size == 1 and not (from_sample and (leaves_float32(input) or not len(input))):
            return super().forward(input)
        if not from_sample:
            weight, bias = columns(self, comm)
            return F.batch_norm(input, self.running_mean, self.running_var, weight, bias, eps=self.eps)
        affine = columns(self, comm, *(1,) * self.num_dims)
        y, mean, variance, count = normalise(input, range(2, input.dim()), self.space.comm, self.eps, *affine)
        if self.training and self.track_running_stats:
            self._track(mean.flatten(1), variance.flatten(1) * count / (count - 1))
        return y

    def _by_tiles(self, input: Tensor) -> Tensor:
        if not (self.training or not self.track_running_stats):
            return scale_tilewise(self, input)
        y, mean, variance, count = normalise_tilewise(self, input, self.num_features, over_samples=False)
        if self.training and self.track_running_stats and len(mean):
            for running, value in ((self.running_mean, mean), (self.running_var, variance * count / (count - 1))):
                assert running is not None
                track(running, value.mean(0), self.momentum or 0.0)
        return y

    @torch.no_grad()
    def _track(self, means: Tensor, variances: Tensor) -> None:
        """Move the running statistics towards the mean of every sample's, over all data groups."""
        assert self.running_mean is not None and self.running_var is not None
        samples = means.new_full((1,), means.shape[0])
        *sums, count = all_sum(torch.cat([means.sum(0), variances.sum(0), samples]), self.space.world_comm).split(
            [*(self.num_features,) * 2, 1]
        )
        momentum = 0.0 if self.momentum is None else self.momentum  # None is 0 in torch's instance norm, unlike in its batch norm
        if count:  # an empty batch says nothing
            for running, total in zip((self.running_mean, self.running_var), sums, strict=True):
                track(running, total / count, momentum)


class InstanceNorm1d(_InstanceNorm, nn.InstanceNorm1d):
    """`InstanceNorm2d` for fields of one dim."""

    num_dims = 1


class InstanceNorm2d(_InstanceNorm, nn.InstanceNorm2d):
    """Normalise each channel of each sample by its mean and variance over the whole field.

        y = (x - mean_bc) / sqrt(var_bc + eps) * weight_c + bias_c

    Parameters
    ----------
    space : Space
        Where the fields live.
    num_features, eps, momentum, affine, track_running_stats
        As in `torch.nn.InstanceNorm2d`.

    Raises
    ------
    ShapeError
        On a domain of another number of dims or of one cell; for a tensor that is not this rank's block.

    Communication
    -------------
    Collective over space.comm: forward one all-gather of two numbers per channel and sample, backward one all-reduce. With running
    statistics one more all-reduce of two numbers per channel over space.world_comm, and so for the gradients of weight and bias.

    Notes
    -----
    The state dict is torch's, and on one rank the layer is torch's.
    """

    num_dims = 2


class InstanceNorm3d(_InstanceNorm, nn.InstanceNorm3d):
    """`InstanceNorm2d` for fields of three dims."""

    num_dims = 3
