"""Eight bits per number, with one scale per bucket: a quarter of the bytes of float32 to send."""

import torch
from torch import Tensor

from hpcml.core.errors import ShapeError
from hpcml.kernels.device import MAX_THREADS
from hpcml.kernels.kernel import Kernel
from hpcml.kernels.quantise_twin import dequantise_twin, quantise_twin
from hpcml.mpi.seeds import Stream, bits

QUANTISE = Kernel("quantise", "quantise", quantise_twin)
DEQUANTISE = Kernel("quantise", "dequantise", dequantise_twin)


def quantise(x: Tensor, bucket: int = 256, seed: int | None = None, stream: Stream = "quantise", offset: int = 0) -> tuple[Tensor, Tensor]:
    """Round to 8 bits, to nearest or at random.

        scale_b = max |x| / 127 over the bucket b,        q_i = round(x_i / scale_b)

    Parameters
    ----------
    x : Tensor of float32 or float64, contiguous, any shape
        Values; a bucket with an infinity or a NaN comes back as NaN.
    bucket : int
        Consecutive elements that share a scale.
    seed : int, optional
        Round at random, so that the result is right on average: E[q_i] scale_b = x_i. None rounds to nearest, ties to even.
    stream : str, int or tuple of these
        What the random numbers are for, see `hpcml.mpi.seeds`; a new one for every call.
    offset : int
        Global index of the first element, so that the random numbers do not depend on the number of ranks.

    Returns
    -------
    q : Tensor of int8, of the shape of ``x``
    scale : Tensor of the dtype of ``x``, (number of buckets,)

    Raises
    ------
    ShapeError
        For another dtype, a tensor that is not contiguous, or a bucket below 1.

    Communication
    -------------
    Local. Deterministic; the same bits on the CPU, on a GPU and by the twin.

    Notes
    -----
    The error of an element is at most half its bucket's scale to nearest, one scale at random; in both cases plus round-off of x.

    Examples
    --------
    >>> q, scale = quantise(torch.tensor([1.0, -0.5, 0.25]))
    >>> q
    tensor([127, -64,  32], dtype=torch.int8)
    """
    if bucket < 1:
        raise ShapeError(f"a bucket holds at least one element, got {bucket}")
    q = torch.empty_like(x, dtype=torch.int8)
    buckets = -(-x.numel() // bucket)
    scale = x.new_empty(buckets)
    key = 0 if seed is None else int(bits(seed, stream, torch.zeros(1, dtype=torch.int64))) % 2**64
    shape = ((max(1, min(buckets, 1 << 16)), 1, 1), (min(MAX_THREADS, 1 << (bucket - 1).bit_length()), 1, 1))
    QUANTISE(q, scale, x, x.numel(), bucket, seed is not None, key, offset, extent=(bucket, buckets), shape=shape)
    return q, scale


def dequantise(q: Tensor, scale: Tensor, bucket: int = 256) -> Tensor:
    """Numbers that `quantise` stands for: x_i = q_i scale_b.

    Parameters
    ----------
    q, scale : Tensor
        As `quantise` returns them.
    bucket : int
        As it was given.

    Returns
    -------
    Tensor
        Of the shape of ``q`` and the dtype of ``scale``.

    Raises
    ------
    ShapeError
        For another number of scales than of buckets.

    Communication
    -------------
    Local. Deterministic.
    """
    buckets = -(-q.numel() // bucket)
    if scale.shape != (buckets,):
        raise ShapeError(f"{q.numel()} elements in buckets of {bucket} need {buckets} scales, got {tuple(scale.shape)}")
    x = torch.empty_like(q, dtype=scale.dtype)
    DEQUANTISE(x, q, scale, q.numel(), bucket, extent=(bucket, buckets))
    return x
