"""A matrix for each Fourier mode as one step of differentiation, which keeps the modes and the parameter, and no copy of the matrices.

    forward      y[b, o, k] = sum_i s[b, i, k] w[i, o, k]
    backward     s'[b, i, k] = sum_o y'[b, o, k] conj(w[i, o, k])          w'[i, o, k] = sum_b conj(s[b, i, k]) y'[b, o, k]

Matrices are brought together mode by mode before they are multiplied: as they lie, torch takes each apart by itself.
"""

import math
from types import EllipsisType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hpcml.mpi.call_function import CallFunction
from hpcml.parallel.linear import uncompiled

Block = tuple[EllipsisType | slice, ...]


class _ModeProduct(CallFunction):
    @staticmethod
    def forward(block: Block, s: Tensor, weight: Tensor):  # type: ignore[no-untyped-def,override]
        return _product(s, _matrices(weight, block))

    @staticmethod
    def setup_context(ctx, inputs, output):  # type: ignore[no-untyped-def,override]
        ctx.block, s, weight = inputs
        ctx.save_for_backward(s, weight)
        ctx.save_for_forward(s, weight)

    @staticmethod
    def backward(ctx, y: Tensor):  # type: ignore[no-untyped-def,override]
        s, weight = ctx.saved_tensors
        s_grad = weight_grad = None
        if ctx.needs_input_grad[1]:
            s_grad = _product(y.conj(), _matrices(weight, ctx.block).transpose(0, 1)).conj()
        if ctx.needs_input_grad[2]:
            product = _by_mode(s.conj()).transpose(1, 2) @ _by_mode(y)
            weight_grad = _placed(_by_channel(product, s.shape[2:]), ctx.block, weight)
        return None, s_grad, weight_grad

    @staticmethod
    def jvp(ctx, _, s_tangent: Tensor | None, weight_tangent: Tensor | None):  # type: ignore[no-untyped-def,override]
        s, weight = ctx.saved_tensors
        parts = [_product(s_tangent, _matrices(weight, ctx.block))] if s_tangent is not None else []
        parts += [_product(s, _matrices(weight_tangent, ctx.block))] if weight_tangent is not None else []
        return sum(parts[1:], parts[0])

    @staticmethod
    def vmap(info, in_dims, block: Block, s: Tensor, weight: Tensor):  # type: ignore[no-untyped-def,override]
        _, d, w = in_dims
        if w is None:
            merged = s.movedim(d, 0)
            return _ModeProduct.apply(block, merged.flatten(0, 1), weight).unflatten(0, merged.shape[:2]), 0
        every = [(s if d is None else s.select(d, k), weight.select(w, k)) for k in range(info.batch_size)]
        return torch.stack([_ModeProduct.apply(block, *each) for each in every]), 0


@uncompiled
def multiply_modes(s: Tensor, weight: Tensor, block: Block) -> Tensor:
    """Multiply the channels of each mode by a matrix.

    Parameters
    ----------
    s : Tensor
        Complex (batch, in_channels, *k): the modes that this rank holds.
    weight : Tensor
        Real pairs (in_channels, out_channels, *modes, 2) of all modes, in any precision.
    block : tuple of slice
        Which of them this rank holds.

    Returns
    -------
    Tensor
        Complex (batch, out_channels, *k), any number of times differentiable.

    Communication
    -------------
    Local. A mode's result is the same whatever others are held beside it.
    """
    result: Any = _ModeProduct.apply(block, s, weight)
    return result


def _matrices(weight: Tensor, block: Block) -> Tensor:
    """Complex (in_channels, out_channels, *k)."""
    return torch.view_as_complex(weight.to(torch.promote_types(weight.dtype, torch.float32)))[block]


def _product(s: Tensor, w: Tensor) -> Tensor:
    return _by_channel(_by_mode(s) @ _by_mode(w), s.shape[2:])


def _by_mode(t: Tensor) -> Tensor:
    """(a, b, *k) as (modes, a, b), contiguous; turned over as a matrix, which torch does block by block."""
    a, b, *modes = t.shape
    count = math.prod(modes)
    return t.resolve_conj().reshape(a * b, count).t().contiguous().view(count, a, b)


def _by_channel(t: Tensor, modes: torch.Size) -> Tensor:
    """(modes, a, b) as (a, b, *k)."""
    return t.permute(1, 2, 0).unflatten(2, modes)


def _placed(gradient: Tensor, block: Block, weight: Tensor) -> Tensor:
    """Gradient of this rank's matrices as one of the weight: zero elsewhere."""
    runs = [s for s in block if isinstance(s, slice)]
    ends = [(s.start, n - s.stop) for s, n in zip(runs, weight.shape[2:-1], strict=True)]
    if any(map(any, ends)):
        gradient = functional.pad(gradient, [n for pair in reversed(ends) for n in pair])
    return torch.view_as_real(gradient.resolve_conj()).to(weight.dtype)
