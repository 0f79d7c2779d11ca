"""Batch norm over every cell and every sample of all ranks."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hpcml.models.layers.norm_statistics import leaves_float32, track
from hpcml.models.layers.norm_tiles import normalise_tilewise, scale_tilewise
from hpcml.models.layers.normalise import normalise
from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.parameters import columns
from hpcml.models.layers.reach import check_field, check_num_dims
from hpcml.parallel.space import Space


@numbered
class _BatchNorm(nn.modules.batchnorm._BatchNorm):
    """What the three have in common; see `BatchNorm2d`."""

    takes_wide = same_bits = True
    num_dims: ClassVar[int]

    def __init__(self, space: Space, num_features: int, *args: Any, **kwargs: Any) -> None:
        check_num_dims(type(self).__name__, space, self.num_dims)
        super().__init__(num_features, *args, **kwargs)
        self.space = space

    def forward(self, input: Tensor) -> Tensor:
        check_field(input, self.space, self.num_features, type(self).__name__, self.weight, mixed=True)
        if self.space.tiles is not None:
            return self._by_tiles(input)
        return self.space.as_field(self._normalised(self.space.channels_first(input)), input)

    def _normalised(self, input: Tensor) -> Tensor:
        comm = self.space.world_comm
        from_batch = self.training or self.running_mean is None
        if comm.size == 1 and not (from_batch and leaves_float32(input)):
            return super().forward(input)
        if not from_batch:
            weight, bias = columns(self, comm)
            return F.batch_norm(input, self.running_mean, self.running_var, weight, bias, eps=self.eps)
        affine = columns(self, comm, *(1,) * self.num_dims)
        y, mean, variance, count = normalise(input, [0, *range(2, input.dim())], comm, self.eps, *affine, sharing=self.space.comm.size)
        if self.training and self.track_running_stats:
            self._track(mean.flatten(), variance.flatten(), float(count))
        return y

    def _by_tiles(self, input: Tensor) -> Tensor:
        if not (self.training or self.running_mean is None):
            return scale_tilewise(self, input)
        y, mean, variance, count = normalise_tilewise(self, input, self.num_features, over_samples=True)
        if self.training and self.track_running_stats:
            self._track(mean.flatten(), variance.flatten(), float(count))
        return y

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: float) -> None:
        assert self.num_batches_tracked is not None and self.running_mean is not None and self.running_var is not None
        self.num_batches_tracked.add_(1)
        momentum = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        if count:  # an empty batch says nothing
            track(self.running_mean, mean, momentum)
            track(self.running_var, variance * count / (count - 1), momentum)


class BatchNorm1d(_BatchNorm, nn.BatchNorm1d):
    """`BatchNorm2d` for fields of one dim."""

    num_dims = 1


class BatchNorm2d(_BatchNorm, nn.BatchNorm2d):
    """Normalise each channel by its mean and variance over the whole batch and the whole field, on all ranks and in all data groups.

        y = (x - mean_c) / sqrt(var_c + eps) * weight_c + bias_c

    Parameters
    ----------
    space : Space
        Where the fields live.
    num_features, eps, momentum, affine, track_running_stats
        As in `torch.nn.BatchNorm2d`; running statistics are those of one rank with everything, and the same on every rank.

    Raises
    ------
    ShapeError
        On a domain of another number of dims; for a tensor that is not this rank's block.

    Communication
    -------------
    Collective over space.world_comm: forward one all-gather of two numbers per channel, backward two all-reduces; none in the forward pass
    of `eval` with running statistics.

    Notes
    -----
    The state dict is torch's, and on one rank the layer is torch's.
    """

    num_dims = 2


class BatchNorm3d(_BatchNorm, nn.BatchNorm3d):
    """`BatchNorm2d` for fields of three dims."""

    num_dims = 3
