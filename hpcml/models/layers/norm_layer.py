"""Layer norm over the whole field of every sample."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from hpcml.core.errors import ShapeError
from hpcml.fields.domain import Domain
from hpcml.models.layers.norm_statistics import as_autocast, leaves_float32
from hpcml.models.layers.normalise import normalise
from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.parameters import columns
from hpcml.models.layers.reach import check_field


@numbered
class LayerNorm(nn.LayerNorm):
    """Normalise each sample, or each channel of each sample, by its mean and variance over the whole field.

        y = (x - mean_b) / sqrt(var_b + eps) * weight + bias

    Parameters
    ----------
    domain : Domain
        Where the fields live, of 1 to 3 dims.
    normalized_shape : sequence of int
        (channel, *domain.global_shape) or domain.global_shape.
    eps, elementwise_affine, bias
        As in `torch.nn.LayerNorm`. Weight and bias have ``normalized_shape``, a number for every cell of the whole field on every rank.

    Raises
    ------
    ShapeError
        For another shape; for a tensor that is not this rank's block.

    Communication
    -------------
    Collective over domain.comm: forward one all-gather of two numbers per mean, backward one all-reduce; and one of the size of weight and
    bias over domain.world_comm for their gradients.

    Notes
    -----
    The state dict is torch's, and on one rank the layer is torch's. To normalise over the channels of each cell, wrap torch's layer in
    `Pointwise` with ``channels_last``.
    """

    takes_wide = True

    def __init__(self, domain: Domain, normalized_shape: int | Sequence[int], *args: Any, **kwargs: Any) -> None:
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        if shape[-domain.num_dims :] != domain.global_shape or len(shape) > domain.num_dims + 1:
            raise ShapeError(
                f"layer norm over {shape} of a field on {domain.global_shape}: expected {domain.global_shape} or these after the number of "
                "channels; over the channels of each cell use Pointwise(domain, torch.nn.LayerNorm(channels), channels_last=True)"
            )
        super().__init__(list(shape), *args, **kwargs)
        self.domain = self.domain_out = domain

    def forward(self, input: Tensor) -> Tensor:
        with_channels = len(self.normalized_shape) > self.domain.num_dims
        check_field(input, self.domain, self.normalized_shape[0] if with_channels else None, "LayerNorm")
        comm = self.domain.world_comm
        if comm.size == 1 and not leaves_float32(input):
            return super().forward(input)
        affine = (None if p is None else p[self.domain.index] for p in columns(self, comm))
        y, *_ = normalise(as_autocast(input), range(1 if with_channels else 2, input.dim()), self.domain.comm, self.eps, *affine)
        return y
