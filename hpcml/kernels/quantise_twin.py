"""What the quantisation kernels mean, in torch."""

import torch
from torch import Tensor

from hpcml.kernels.arguments import Array, as_tensor
from hpcml.mpi.seeds import splitmix64


def quantise_twin(q: Array, scale: Array, x: Array, n: int, bucket: int, stochastic: int, key: int, offset: int) -> None:
    """Divide every bucket by its largest magnitude over 127 and round."""
    values, step = as_tensor(x).reshape(n), as_tensor(scale)
    padded = values.new_zeros(len(step) * bucket)
    padded[:n] = values
    step.copy_(padded.view(-1, bucket).abs().amax(dim=1) / 127)
    inverse = torch.where(step > 0, 1 / step, torch.zeros_like(step))
    scaled = values * _each(inverse, bucket, n)
    if stochastic:
        word = splitmix64(key, torch.arange(offset, offset + n, device=values.device))
        fraction = word.bitwise_right_shift(40).bitwise_and(2**24 - 1).to(values.dtype) * 2.0**-24
        scaled = (scaled + fraction).floor()
    as_tensor(q).view(n).copy_(scaled.round().clamp(-127, 127).nan_to_num(nan=0.0))


def dequantise_twin(x: Array, q: Array, scale: Array, n: int, bucket: int) -> None:
    """Multiply every element by the scale of its bucket."""
    as_tensor(x).view(n).copy_(as_tensor(q).view(n).to(as_tensor(scale).dtype) * _each(as_tensor(scale), bucket, n))


def _each(scale: Tensor, bucket: int, n: int) -> Tensor:
    return scale.repeat_interleave(bucket)[:n]
