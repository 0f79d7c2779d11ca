"""Layer norm over the whole field of every sample."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from hpcml.core.errors import ShapeError
from hpcml.models.layers.norm_statistics import as_autocast, leaves_float32
from hpcml.models.layers.normalise import normalise
from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.parameters import columns
from hpcml.models.layers.reach import check_field
from hpcml.parallel.space import Space


@numbered
class LayerNorm(nn.LayerNorm):
    """Normalise each sample, or each channel of each sample, by its mean and variance over the whole field.

        y = (x - mean_b) / sqrt(var_b + eps) * weight + bias

    Parameters
    ----------
    space : Space
        Where the fields live.
    normalized_shape : sequence of int
        (channel, *space.global_shape) or space.global_shape.
    eps, elementwise_affine, bias
        As in `torch.nn.LayerNorm`. Weight and bias have ``normalized_shape``, a number for every point of the whole field on every rank.

    Raises
    ------
    ShapeError
        For another shape; for a tensor that is not this rank's block.

    Communication
    -------------
    Collective over space.comm: forward one all-gather of two numbers per mean, backward one all-reduce; and one of the size of weight and
    bias over space.world_comm for their gradients.

    Notes
    -----
    The state dict is torch's, and on one rank the layer is torch's. To normalise over the channels of each point, wrap torch's layer in
    `Pointwise` with ``channels_last``.
    """

    takes_wide = True

    def __init__(self, space: Space, normalized_shape: int | Sequence[int], *args: Any, **kwargs: Any) -> None:
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        if shape[-space.num_dims :] != space.global_shape or len(shape) > space.num_dims + 1:
            raise ShapeError(
                f"layer norm over {shape} of a field on {space.global_shape}: expected {space.global_shape} or these after the number of "
                "channels; over the channels of each cell use Pointwise(space, torch.nn.LayerNorm(channels), channels_last=True)"
            )
        super().__init__(list(shape), *args, **kwargs)
        self.space = space

    def forward(self, input: Tensor) -> Tensor:
        with_channels = len(self.normalized_shape) > self.space.num_dims
        check_field(input, self.space, self.normalized_shape[0] if with_channels else None, "LayerNorm", self.weight, mixed=True)
        return self.space.as_field(self._normalised(self.space.channels_first(input), with_channels), input)

    def _normalised(self, input: Tensor, with_channels: bool) -> Tensor:
        comm = self.space.world_comm
        points = (..., *self.space.index[1 : 1 + self.space.num_dims])
        weight, bias = (None if p is None else p[points] for p in columns(self, comm))
        if comm.size == 1 and not leaves_float32(input):
            return F.layer_norm(input, self.normalized_shape, weight, bias, self.eps)
        y, *_ = normalise(as_autocast(input), range(1 if with_channels else 2, input.dim()), self.space.comm, self.eps, weight, bias)
        return y
