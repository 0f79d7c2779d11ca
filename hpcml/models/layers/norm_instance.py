"""Instance norm over the whole field of every sample."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hpcml.core.errors import ShapeError
from hpcml.fields.domain import Domain
from hpcml.models.layers.norm_statistics import check_channels, moments, normalize, replicated_affine
from hpcml.models.layers.reach import check_field, check_num_dims
from hpcml.mpi.reductions import all_sum


class _InstanceNorm(nn.modules.instancenorm._InstanceNorm):
    """What the three have in common; see `InstanceNorm2d`."""

    num_dims: ClassVar[int]

    def __init__(self, domain: Domain, num_features: int, *args: Any, **kwargs: Any) -> None:
        check_num_dims(type(self).__name__, domain, self.num_dims)
        if domain.grid.num_cells == 1:
            raise ShapeError("instance norm needs a field of more than one cell")
        super().__init__(num_features, *args, **kwargs)
        self.domain = self.domain_out = domain

    def forward(self, input: Tensor) -> Tensor:
        check_field(input, self.domain)
        check_channels(self, input, self.num_features)
        comm = self.domain.world_comm
        if comm.size == 1:
            return super().forward(input)
        weight, bias = replicated_affine(comm, self.weight, self.bias)
        if not self.training and self.track_running_stats:
            return F.batch_norm(input, self.running_mean, self.running_var, weight, bias, eps=self.eps)
        mean, variance, count = moments(input, range(2, input.dim()), self.domain.comm)
        if self.training and self.track_running_stats:
            self._track(mean.detach().flatten(1), variance.detach().flatten(1) * (count / (count - 1)))
        columns = (None if p is None else p.view(-1, *(1,) * self.num_dims) for p in (weight, bias))
        return normalize(input, mean, variance, self.eps, *columns)

    @torch.no_grad()
    def _track(self, means: Tensor, variances: Tensor) -> None:
        """Move the running statistics towards the mean of every sample's, over all data groups."""
        assert self.running_mean is not None and self.running_var is not None
        samples = means.new_full((1,), means.shape[0])
        sums = all_sum(torch.cat([means.sum(0), variances.sum(0), samples]), self.domain.world_comm)
        mean, variance = (sums[:-1] / sums[-1]).chunk(2)
        momentum = 0.0 if self.momentum is None else self.momentum  # None is 0 in torch's instance norm, unlike in its batch norm
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)


class InstanceNorm1d(_InstanceNorm, nn.InstanceNorm1d):
    """`InstanceNorm2d` for fields of one dim."""

    num_dims = 1


class InstanceNorm2d(_InstanceNorm, nn.InstanceNorm2d):
    """Normalise each channel of each sample by its mean and variance over the whole field.

        y = (x - mean_bc) / sqrt(var_bc + eps) * weight_c + bias_c

    Parameters
    ----------
    domain : Domain
        Where the fields live.
    num_features, eps, momentum, affine, track_running_stats
        As in `torch.nn.InstanceNorm2d`.

    Raises
    ------
    ShapeError
        On a domain of another number of dims or of one cell; for a tensor that is not this rank's block.

    Communication
    -------------
    Collective over domain.comm: forward one all-gather of two numbers per channel and sample, backward one all-reduce. With running
    statistics one more all-reduce of two numbers per channel over domain.world_comm, and so for the gradients of weight and bias.

    Notes
    -----
    The state dict is torch's, and on one rank the layer is torch's.
    """

    num_dims = 2


class InstanceNorm3d(_InstanceNorm, nn.InstanceNorm3d):
    """`InstanceNorm2d` for fields of three dims."""

    num_dims = 3
