"""Normalisation by statistics of all ranks as one step of differentiation: what is kept for the backward pass is the input, once.

    forward      y  = z w + b               z = (x - m) / sqrt(v + eps)
    backward     x' = (w y' - <w y'> - z <z w y'>) / sqrt(v + eps)        w' = sum z y'        b' = sum y'

where m, v and <> are means over the normalised values of all ranks. With a graph of the backward pass, m and v are functions of x in it
again, so that derivatives of any order are right.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.models.layers.norm_statistics import accurate, moments
from hpcml.mpi.call_function import CallFunction
from hpcml.parallel.collectives import all_reduce
from hpcml.parallel.linear import uncompiled


class _Normalise(CallFunction):
    @staticmethod
    def forward(how: "_How", x: Tensor, weight: Tensor | None, bias: Tensor | None):  # type: ignore[no-untyped-def,override]
        mean, variance, count = moments(x, how.dims, how.comm, how.sharing)
        y, scale = _centred(x, mean), _column(_rate(variance, how.eps), x)
        if weight is not None:
            w = _column(weight, x)
            if w.numel() <= y.shape[1] * len(y):  # a number per channel: one pass less over the field
                scale = scale * w
            else:
                y, scale = y.mul_(scale), w
        y = y.mul_(scale) if bias is None else torch.addcmul(_column(bias, x), y, scale)
        return y.to(x.dtype), mean, variance, count

    @staticmethod
    def setup_context(ctx, inputs, output):  # type: ignore[no-untyped-def,override]
        ctx.how, x, weight, bias = inputs
        _, *statistics = output
        ctx.shapes = [None if p is None else p.shape for p in (weight, bias)]
        ctx.mark_non_differentiable(*statistics)
        ctx.save_for_backward(x, weight, *statistics)
        ctx.save_for_forward(x, weight, *statistics)

    @staticmethod
    def backward(ctx, y: Tensor, *_: Tensor):  # type: ignore[no-untyped-def,override]
        how, (x, weight, *statistics) = ctx.how, ctx.saved_tensors
        again = torch.is_grad_enabled()
        mean, variance, count = moments(x, how.dims, how.comm, how.sharing) if again else statistics
        rate = _column(_rate(variance, how.eps), x)
        y, z = y.to(accurate(x.dtype)), _centred(x, mean)
        z = z * rate if again else z.mul_(rate)
        # Summed over cells first where the weight is one number for all of them, so that what follows is small.
        alike = [d for d in how.dims if weight is None or weight.dim() < x.dim() - d or weight.shape[d - x.dim()] == 1]
        total, product = (part.sum(alike, keepdim=True) if alike else part for part in (y, y * z))
        gradients = [None if shape is None else part.sum_to_size(shape) for part, shape in zip((product, total), ctx.shapes, strict=True)]
        if not ctx.needs_input_grad[1]:
            return None, None, *gradients
        w = torch.ones_like(rate) if weight is None else _column(weight, x)
        first, second = (_column(part / count, x) for part in _sums(how, total * w, product * w))
        gradient = torch.addcmul(-first * rate, y, w * rate)
        gradient = gradient.addcmul(z, -second * rate) if again else gradient.addcmul_(z, -second * rate)
        return None, gradient.to(x.dtype), *gradients

    @staticmethod
    def jvp(ctx, _, x_tangent: Tensor, weight_tangent: Tensor | None, bias_tangent: Tensor | None):  # type: ignore[no-untyped-def,override]
        how, (x, weight, mean, variance, count) = ctx.how, ctx.saved_tensors
        rate = _column(_rate(variance, how.eps), x)
        z, tangent = _centred(x, mean) * rate, x_tangent.to(accurate(x.dtype))
        first, second = (_column(part / count, x) for part in _sums(how, tangent, tangent * z))
        y = (tangent - first - z * second) * rate
        if weight is not None:
            y = y * _column(weight, x)
        if weight_tangent is not None:
            y = y + z * weight_tangent
        if bias_tangent is not None:
            y = y + bias_tangent
        return y.to(x.dtype), None, None, None

    @staticmethod
    def vmap(info, in_dims, how: "_How", *tensors: Tensor | None):  # type: ignore[no-untyped-def,override]
        x, *affine = (
            None if t is None else t.movedim(d, 0) if d is not None else t[None] for t, d in zip(tensors, in_dims[1:], strict=True)
        )
        assert x is not None
        x = x.expand(info.batch_size, *x.shape[1:])
        # A scale of each of the batch keeps its place beside the dims of x that it does not have.
        affine = [None if t is None else t.view(len(t), *(1,) * (x.dim() - t.dim()), *t.shape[1:]) for t in affine]
        moved = _How(how.comm, tuple(d + 1 for d in how.dims), how.eps, 0)
        return _Normalise.apply(moved, x, *affine), (0, 0, 0, None)


class _How:
    """What is normalised over, and with what."""

    def __init__(self, comm: MPI.Intracomm, dims: Sequence[int], eps: float, sharing: int) -> None:
        self.comm, self.dims, self.eps, self.sharing = comm, tuple(dims), eps, sharing


@uncompiled
def normalise(
    x: Tensor, dims: Sequence[int], comm: MPI.Intracomm, eps: float, weight: Tensor | None, bias: Tensor | None, *, sharing: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Normalise by mean and variance over some dims and all ranks.

    Parameters
    ----------
    x : Tensor
        This rank's values.
    dims : sequence of int
        What to average over, counted from 0.
    comm : MPI.Intracomm
        The ranks that share the values.
    eps : float
        Added to the variance.
    weight, bias : Tensor, optional
        Broadcast to ``x``. Their gradients are those of this rank's values, in float32 or wider if they are.
    sharing : int
        As for `hpcml.models.layers.norm_statistics.moments`.

    Returns
    -------
    y : Tensor
        Of the shape and dtype of ``x``; computed in float32 or wider.
    mean, variance, count : Tensor
        As `hpcml.models.layers.norm_statistics.moments` gives them, not differentiable.

    Communication
    -------------
    Collective over comm: one all-gather of two numbers per mean, backward one all-reduce of two numbers per mean. Deterministic.

    Notes
    -----
    Keeps ``x`` for the backward pass, and nothing else of its size.
    """
    result: Any = _Normalise.apply(_How(comm, dims, eps, sharing), x, weight, bias)
    y, mean, variance, count = result
    return y, mean, variance, count


def _sums(how: _How, *values: Tensor) -> Tensor:
    """Sums of each over what is normalised, of all ranks."""
    return all_reduce(how.comm, torch.stack([part.sum(how.dims, keepdim=True).double() for part in values]))


def _centred(x: Tensor, mean: Tensor) -> Tensor:
    """Difference from the mean, newly made, in float32 or wider."""
    return x - _column(mean, x)


def _rate(variance: Tensor, eps: float) -> Tensor:
    return torch.rsqrt(variance + eps)


def _column(values: Tensor, x: Tensor) -> Tensor:
    """Statistics, which are in float64, or parameters, in the precision that the field is computed in."""
    return values.to(accurate(x.dtype))
