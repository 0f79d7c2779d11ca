"""A matrix for the channels of every cell, with GELU before it or without, as one step of differentiation.

forward      y = W a + b        a = gelu(h) or h
backward     h' = gelu'(h) W^T y'        W' = sum_n y'_n a_n^T        b' = sum_n y'_n

What comes before the activation is kept, not what comes after.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hpcml.models.layers.autocast import is_autocast
from hpcml.mpi.call_function import CallFunction
from hpcml.parallel.linear import uncompiled

PIECE = 1024
"""Cells of a partial sum of W' on a GPU: the library sums all cells of a sample in one place, and leaves most of the processors idle."""
ENOUGH = 64
"""Samples that keep them busy by themselves."""


class _CellwiseMap(CallFunction):
    @staticmethod
    def forward(activate: bool, h: Tensor, weight: Tensor, bias: Tensor | None):  # type: ignore[no-untyped-def,override]
        return _map(functional.gelu(h) if activate else h, weight, bias)

    @staticmethod
    def setup_context(ctx, inputs, output):  # type: ignore[no-untyped-def,override]
        ctx.activate, h, weight, _ = inputs
        ctx.save_for_backward(h, weight)
        ctx.save_for_forward(h, weight)

    @staticmethod
    def backward(ctx, y: Tensor):  # type: ignore[no-untyped-def,override]
        h, weight = ctx.saved_tensors
        _, *wanted = ctx.needs_input_grad
        h_grad = weight_grad = None
        if wanted[0]:
            h_grad = torch.bmm(_matrices(weight, y).transpose(1, 2), y)
            h_grad = torch.ops.aten.gelu_backward(h_grad, h) if ctx.activate else h_grad
        if wanted[1]:
            weight_grad = _summed_products(y, functional.gelu(h) if ctx.activate else h).unsqueeze(-1)
        return None, h_grad, weight_grad, y.sum((0, 2)) if wanted[2] else None

    @staticmethod
    def jvp(ctx, _, *tangents: Tensor | None):  # type: ignore[no-untyped-def,override]
        h_tangent, weight_tangent, bias_tangent = tangents
        h, weight = ctx.saved_tensors
        y = torch.zeros_like(h[:, :1]) if bias_tangent is None else bias_tangent[:, None]
        if h_tangent is not None:
            y = y + _map(torch.ops.aten.gelu_backward(h_tangent, h) if ctx.activate else h_tangent, weight, None)
        if weight_tangent is not None:
            y = y + _map(functional.gelu(h) if ctx.activate else h, weight_tangent, None)
        return y.expand(len(h), len(weight), h.shape[2])

    @staticmethod
    def vmap(info, in_dims, activate: bool, *tensors: Tensor | None):  # type: ignore[no-untyped-def,override]
        (h, weight, bias), dims = tensors, in_dims[1:]
        if dims[1] is None and dims[2] is None:
            assert h is not None
            merged = h.movedim(dims[0], 0)
            return _CellwiseMap.apply(activate, merged.flatten(0, 1), weight, bias).unflatten(0, merged.shape[:2]), 0
        pairs = list(zip(tensors, dims, strict=True))
        every = [[t if t is None or d is None else t.select(d, k) for t, d in pairs] for k in range(info.batch_size)]
        return torch.stack([_CellwiseMap.apply(activate, *each) for each in every]), 0


@uncompiled
def _in_one_step(activate: bool, h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    result: Any = _CellwiseMap.apply(activate, h, weight, bias)
    return result


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
        (batch, out_channels, cells), any number of times differentiable; on the CPU the bits of torch's two operations, forward and
        backward.

    Communication
    -------------
    Local.
    """
    return _in_one_step(True, h, weight, bias)


def cellwise_map(h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A matrix for the channels of every cell: up to three times as fast as the convolution with a kernel of one cell that it is.

    Communication
    -------------
    Local.
    """
    if h.dtype == weight.dtype and _in_pieces(h) and not is_autocast(h.device):
        return _in_one_step(False, h, weight, bias)
    return _map(h, weight, bias)


def _map(a: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    matrices = _matrices(weight, a)
    return torch.bmm(matrices, a) if bias is None else torch.baddbmm(bias[:, None], matrices, a)


def _matrices(weight: Tensor, h: Tensor) -> Tensor:
    return weight[..., 0].expand(len(h), -1, -1)


def _summed_products(y: Tensor, a: Tensor) -> Tensor:
    """Sum of y_n a_n^T over samples and cells: (out_channels, in_channels)."""
    if not _in_pieces(y):
        return torch.bmm(y, a.transpose(1, 2)).sum(0)
    count, whole = y.shape[2] // PIECE, y.shape[2] // PIECE * PIECE
    rows, columns = (t[..., :whole].unflatten(2, (count, PIECE)).transpose(1, 2) for t in (y, a))  # (batch, piece, channel, cell)
    parts = [torch.bmm(row, column.transpose(1, 2)) for row, column in zip(rows, columns, strict=True)]
    rest = [torch.bmm(y[..., whole:], a[..., whole:].transpose(1, 2))] if whole < y.shape[2] else []
    return torch.cat([*parts, *rest]).sum(0)


def _in_pieces(h: Tensor) -> bool:
    return h.is_cuda and len(h) < ENOUGH and h.shape[2] >= 4 * PIECE
