"""A perceptron for the rows of tensors, computed block by block in the cache, which keeps for its gradient what it is given and no more.

    h_1 = sum_i x_i W_i^T + b_1 + sum_j t_j[rows_j]        h_k = W_k relu(h_(k-1)) + b_k        y = [x_1 +] [norm](h_last)

The backward pass computes the h of a block again, and goes back through them while they are in the cache: a third more products, which is
less than it takes to write and to read them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hpcml.graphs.aggregation import Taken, on_rows, take_rows
from hpcml.kernels.segment import Edges, gather_sum
from hpcml.models.layers.autocast import is_autocast
from hpcml.parallel.linear import differentiated, transformed

CELLS = 1 << 16
"""Of a block, rows by channels, 512 by 128: some tensors of it in the cache of a core."""
BLOCKED = (torch.float32, torch.float64)


@dataclass(frozen=True, slots=True)
class _Form:
    """What of a perceptron is no tensor."""

    products: int
    rows: tuple[Edges | None, ...]
    layers: int
    eps: float
    residual: bool

    def split(self, tensors: Sequence[Any]) -> tuple[Sequence[Any], ...]:
        """Inputs, their weights, what is added, biases, weights of the further layers, and the norm's two."""
        sizes = self.products, self.products, len(self.rows), self.layers, self.layers - 1
        parts, at = [], 0
        for size in sizes:
            parts.append(tensors[at : at + size])
            at += size
        return (*parts, tensors[at:])


def row_mlp(
    mlp: nn.Sequential,
    products: Sequence[tuple[Tensor, Tensor]],
    added: Sequence[Tensor | Taken] = (),
    residual: bool = False,
    blocks: bool = True,
) -> Tensor:
    """Apply a perceptron whose first layer is given by its parts.

    Parameters
    ----------
    mlp : Sequential
        Linear layers with ReLU between them, and a LayerNorm or none.
    products : sequence of (Tensor, Tensor)
        Inputs, ([sample,] row, channel), and their columns of the first layer's weight.
    added : sequence of Tensor or Taken
        To what the first layer gives: ([sample,] row, channel), or rows of a tensor that are taken where they are needed.
    residual : bool
        Whether the first input is added to the result.
    blocks : bool
        False to compute all rows at once in any case: on tiles, where second derivatives have the same bits by torch's order alone.

    Returns
    -------
    Tensor
        ([sample,] row, channel); differentiable any number of times.

    Communication
    -------------
    Local.

    Notes
    -----
    Blocks are for the CPU, in float32 and float64, and for first derivatives backward; else it is computed at once by torch's operations.
    """
    linear = [layer for layer in mlp if isinstance(layer, nn.Linear)]
    norm = [layer for layer in mlp if isinstance(layer, nn.LayerNorm)]
    inputs, first = zip(*products, strict=True)
    values = [t.values if isinstance(t, Taken) else t for t in added]
    lead = max((t.shape[:-2] for t in (*inputs, *values)), key=tuple)  # () < (1,) < (n,); torch.broadcast_shapes takes 2 s to import
    xs, ts = ([t if t.shape[:-2] == lead else t.expand(*lead, *t.shape[-2:]) for t in of] for of in (inputs, values))
    rows = tuple(t.rows if isinstance(t, Taken) else None for t in added)
    form = _Form(len(xs), rows, len(linear), norm[0].eps if norm else 0.0, residual)
    given = (*xs, *first, *ts, *(of.bias for of in linear), *(of.weight for of in linear[1:]), *(p for of in norm for p in of.parameters()))
    blocked = xs[0].device.type == "cpu" and xs[0].dim() <= 3 and all(t.dtype == xs[0].dtype and t.dtype in BLOCKED for t in given)
    if not (blocks and blocked) or is_autocast(xs[0].device) or transformed():
        return _at_once(form, given)
    result: Tensor = _RowMLP.apply(form, *given) if differentiated(*given) else _forward(form, given)
    return result


def _at_once(form: _Form, tensors: Sequence[Tensor]) -> Tensor:
    xs, first, ts, biases, weights, norm = form.split(tensors)
    h = F.linear(xs[0], first[0], biases[0])
    for x, weight in zip(xs[1:], first[1:], strict=True):
        h = h + F.linear(x, weight)
    for t, rows in zip(ts, form.rows, strict=True):
        h = h + (t if rows is None else on_rows(take_rows, t, rows))
    for weight, bias in zip(weights, biases[1:], strict=True):
        h = F.linear(F.relu(h), weight, bias)
    if norm:
        h = _normed(form, h, norm)
    return xs[0] + h if form.residual else h


class _RowMLP(torch.autograd.Function):
    @staticmethod
    def forward(ctx, form: _Form, *tensors: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.form = form
        ctx.save_for_backward(*tensors)
        return _forward(form, tensors)

    @staticmethod
    def backward(ctx, cotangent: Tensor):  # type: ignore[no-untyped-def]
        tensors, wanted = ctx.saved_tensors, ctx.needs_input_grad[1:]
        if not torch.is_grad_enabled():
            return None, *_backward(ctx.form, tensors, cotangent, wanted)
        given = [t.view_as(t) for t in tensors]  # beginnings of their own: one may have been computed from another
        y = _at_once(ctx.form, given)
        slopes = iter(torch.autograd.grad(y, [t for t, want in zip(given, wanted, strict=True) if want], cotangent, create_graph=True))
        return None, *(next(slopes) if want else None for want in wanted)


def _blocks(x: Tensor, channels: int) -> Iterator[tuple[Any, slice]]:
    """Index of a sample, and rows of a block."""
    rows = max(1, CELLS // channels)
    for sample in range(len(x)) if x.dim() == 3 else (...,):
        for start in range(0, x.shape[-2], rows):
            yield sample, slice(start, start + rows)


def _hidden(form: _Form, parts: tuple[Sequence[Any], ...], sample: Any, block: slice) -> tuple[list[Tensor], Tensor]:
    """For a block, what the further layers are given, and what the last one gives."""
    xs, first, ts, biases, weights, _ = parts
    h = torch.addmm(biases[0], xs[0][sample][block], first[0].t())
    for x, weight in zip(xs[1:], first[1:], strict=True):
        h.addmm_(x[sample][block], weight.t())
    for t, rows in zip(ts, form.rows, strict=True):
        h += t[sample][block] if rows is None else t[sample].index_select(0, rows.source[block])
    hidden = []
    for weight, bias in zip(weights, biases[1:], strict=True):
        hidden.append(h.relu_())
        h = torch.addmm(bias, h, weight.t())
    return hidden, h


def _forward(form: _Form, tensors: Sequence[Tensor]) -> Tensor:
    parts = form.split(tensors)
    x, biases, norm = parts[0][0], parts[3], parts[5]
    y = x.new_empty(*x.shape[:-1], len(biases[-1]))
    for sample, block in _blocks(x, len(biases[0])):
        _, h = _hidden(form, parts, sample, block)
        if norm:
            h = _normed(form, h, norm)
        y[sample][block] = h.add_(x[sample][block]) if form.residual else h
    return y


def _backward(form: _Form, tensors: Sequence[Tensor], cotangent: Tensor, wanted: Sequence[bool]) -> list[Tensor | None]:
    """Gradients of the tensors."""
    parts, want = form.split(tensors), form.split(wanted)
    xs, first, ts, _, weights, norm = parts
    x_slopes = [x.new_empty(x.shape) if wants else None for x, wants in zip(xs, want[0], strict=True)]
    slope = xs[0].new_empty(*xs[0].shape[:-1], len(first[0])) if ts else None  # of what is added
    of_first, of_biases, of_weights, of_norm = ([torch.zeros_like(t) for t in parts[k]] for k in (1, 3, 4, 5))
    for sample, block in _blocks(xs[0], len(first[0])):
        hidden, h = _hidden(form, parts, sample, block)
        of_block = cotangent[sample][block]
        g = of_block
        if norm:
            g = _back_through_norm(form, h, g, norm, of_norm)
        for k in range(len(weights) - 1, -1, -1):
            of_biases[k + 1] += g.sum(0)
            of_weights[k].addmm_(g.t(), hidden[k])
            g = torch.ops.aten.threshold_backward(g @ weights[k], hidden[k], 0)
        of_biases[0] += g.sum(0)
        for i, x in enumerate(xs):
            of_first[i].addmm_(g.t(), x[sample][block])
            if (x_slope := x_slopes[i]) is not None:
                into = torch.mm(g, first[i], out=x_slope[sample][block])
                into += of_block if form.residual and i == 0 else 0
        if slope is not None:
            slope[sample][block] = g
    of_added = [slope if rows is None or slope is None else on_rows(gather_sum, slope, rows.transposed) for rows in form.rows]
    return [*x_slopes, *of_first, *of_added, *of_biases, *of_weights, *of_norm]


def _normed(form: _Form, h: Tensor, norm: Sequence[Tensor]) -> Tensor:
    weight, bias = norm
    return F.layer_norm(h, h.shape[-1:], weight, bias, form.eps)


def _back_through_norm(form: _Form, h: Tensor, g: Tensor, norm: Sequence[Tensor], of_norm: Sequence[Tensor]) -> Tensor:
    weight, bias = norm
    _, mean, scale = torch.native_layer_norm(h, h.shape[-1:], weight, bias, form.eps)
    slope, *of_parameters = torch.ops.aten.native_layer_norm_backward(g, h, h.shape[-1:], mean, scale, weight, bias, [True, True, True])
    for total, part in zip(of_norm, of_parameters, strict=True):
        total += part
    result: Tensor = slope
    return result
