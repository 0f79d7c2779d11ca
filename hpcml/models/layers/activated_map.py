"""GELU and a matrix for the channels as one step of differentiation, which keeps what comes before the activation, not what comes after.

forward      y = W a + b        a = gelu(h)
backward     h' = gelu'(h) W^T y'        W' = sum_n y'_n a_n^T        b' = sum_n y'_n
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hpcml.mpi.call_function import CallFunction
from hpcml.parallel.linear import uncompiled


class _ActivatedMap(CallFunction):
    @staticmethod
    def forward(h: Tensor, weight: Tensor, bias: Tensor | None):  # type: ignore[no-untyped-def,override]
        return cellwise_map(functional.gelu(h), weight, bias)

    @staticmethod
    def setup_context(ctx, inputs, output):  # type: ignore[no-untyped-def,override]
        h, weight, _ = inputs
        ctx.save_for_backward(h, weight)
        ctx.save_for_forward(h, weight)

    @staticmethod
    def backward(ctx, y: Tensor):  # type: ignore[no-untyped-def,override]
        h, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        h_grad = weight_grad = None
        if wanted[0]:
            h_grad = torch.ops.aten.gelu_backward(torch.bmm(_matrices(weight, y).transpose(1, 2), y), h)
        if wanted[1]:
            weight_grad = torch.bmm(y, functional.gelu(h).transpose(1, 2)).sum(0).unsqueeze(-1)
        return h_grad, weight_grad, y.sum((0, 2)) if wanted[2] else None

    @staticmethod
    def jvp(ctx, *tangents: Tensor | None):  # type: ignore[no-untyped-def,override]
        h_tangent, weight_tangent, bias_tangent = tangents
        h, weight = ctx.saved_tensors
        y = torch.zeros_like(h[:, :1]) if bias_tangent is None else bias_tangent[:, None]
        if h_tangent is not None:
            y = y + cellwise_map(torch.ops.aten.gelu_backward(h_tangent, h), weight, None)
        if weight_tangent is not None:
            y = y + cellwise_map(functional.gelu(h), weight_tangent, None)
        return y.expand(len(h), len(weight), h.shape[2])

    @staticmethod
    def vmap(info, in_dims, *tensors: Tensor | None):  # type: ignore[no-untyped-def,override]
        h, weight, bias = tensors
        if in_dims[1] is None and in_dims[2] is None:
            assert h is not None
            merged = h.movedim(in_dims[0], 0)
            return _ActivatedMap.apply(merged.flatten(0, 1), weight, bias).unflatten(0, merged.shape[:2]), 0
        pairs = list(zip(tensors, in_dims, strict=True))
        every = [[t if t is None or d is None else t.select(d, k) for t, d in pairs] for k in range(info.batch_size)]
        return torch.stack([_ActivatedMap.apply(*each) for each in every]), 0


@uncompiled
def activated_map(h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """GELU of every number, then a matrix for the channels of every cell.

    Parameters
    ----------
    h : Tensor
        (batch, in_channels, cells).
    weight : Tensor
        (out_channels, in_channels, 1), of the dtype of h.
    bias : Tensor or None
        (out_channels,).

    Returns
    -------
    Tensor
        (batch, out_channels, cells), any number of times differentiable; the bits of torch's two operations, forward and backward.

    Communication
    -------------
    Local.
    """
    result: Any = _ActivatedMap.apply(h, weight, bias)
    return result


def cellwise_map(h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A matrix for the channels of every cell: up to three times as fast as the convolution with a kernel of one cell that it is.

    Communication
    -------------
    Local.
    """
    matrices = _matrices(weight, h)
    return torch.bmm(matrices, h) if bias is None else torch.baddbmm(bias[:, None], matrices, h)


def _matrices(weight: Tensor, h: Tensor) -> Tensor:
    return weight[..., 0].expand(len(h), -1, -1)
