"""Reading a window and convolving it as one step of differentiation, so that messages travel while the rank works.

    forward      x --window--> x_r --convolve with w--> y_r
    backward     y_r' --> x_r' --adjoint window--> x'        w_r' --sum over ranks--> w'

The window x_r is a second output that no caller sees: as an output it can be kept for the backward pass and yet be differentiated, which is
all that derivatives of any order need.
"""

from typing import Any

import torch
from mpi4py import MPI
from torch import Tensor
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from hpcml.models.layers.autocast import is_autocast, no_autocast
from hpcml.models.layers.convolution import Convolution
from hpcml.models.layers.parameters import replicated_wide
from hpcml.mpi.call_function import CallFunction
from hpcml.mpi.reductions import InPlaceSum
from hpcml.parallel.linear import uncompiled
from hpcml.parallel.replicated import global_sum, replicated
from hpcml.parallel.window import window, window_adjoint
from hpcml.parallel.window_plan import WindowPlan

HALF = (torch.float16, torch.bfloat16)

_How = tuple[WindowPlan, MPI.Intracomm, Convolution]


class _WindowedConvolution(CallFunction):
    @staticmethod
    def forward(how: _How, x: Tensor, weight: Tensor, bias: Tensor | None):  # type: ignore[no-untyped-def,override]
        plan, _, convolution = how
        wide = x if plan.is_identity else plan.forward((x,))[0]
        # An input is no output: of an identity the backward pass keeps the input itself.
        y = convolution.forward(wide, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        return y, x.new_empty(0) if plan.is_identity else wide

    @staticmethod
    def setup_context(ctx, inputs, output):  # type: ignore[no-untyped-def,override]
        ctx.how, x, weight, _ = inputs
        wide = x if ctx.how[0].is_identity else output[1]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(wide, weight)
        ctx.save_for_forward(wide, weight)

    @staticmethod
    def backward(ctx, y: Tensor | None, wide_too: Tensor | None):  # type: ignore[no-untyped-def,override]
        plan, comm, convolution = ctx.how
        wide, weight = ctx.saved_tensors
        dtype, wanted = wide.dtype, ctx.needs_input_grad[1:]
        again = torch.is_grad_enabled()
        if again:
            (weight,) = replicated(comm, weight)
        if dtype in HALF:  # so that what is summed over ranks and neighbors was not rounded before
            y, wide, weight, wide_too = (None if t is None else t.float() for t in (y, wide, weight, wide_too))
        x = weight_grad = bias_grad = None
        if y is not None:
            x, weight_grad, bias_grad = convolution.backward(y, wide, weight, wanted)
        if wide_too is not None and wanted[0]:
            x = wide_too if x is None else x + wide_too
        given = [g for g in (weight_grad, bias_grad) if g is not None]
        if again:
            sums = global_sum(comm, *given) if given else ()
            x = x if x is None or plan.is_identity else window_adjoint(plan, x)[0]
        else:
            flat = None if comm.size == 1 else _flatten_dense_tensors(given) if given else torch.empty(0)
            add_up = None if flat is None else InPlaceSum(flat, comm)
            if x is not None and not plan.is_identity:
                (x,) = plan.adjoint((x,), consume=wide_too is None, meanwhile=add_up)
            elif add_up is not None:
                add_up()
            sums = tuple(given) if flat is None else _unflatten_dense_tensors(flat, given)
        left = iter(sums)
        return None, None if x is None else x.to(dtype), *(None if g is None else next(left) for g in (weight_grad, bias_grad))

    @staticmethod
    def jvp(ctx, _, x: Tensor | None, weight_tangent: Tensor | None, bias: Tensor | None):  # type: ignore[no-untyped-def,override]
        plan, _, convolution = ctx.how
        wide, weight = ctx.saved_tensors
        weight, weight_tangent, bias = (None if t is None else t.to(wide.dtype) for t in (weight, weight_tangent, bias))
        wide_tangent = x if x is None or plan.is_identity else window(plan, x)[0]
        y = None if wide_tangent is None else convolution.forward(wide_tangent, weight, None)
        if weight_tangent is not None:
            more = convolution.forward(wide, weight_tangent, None)
            y = more if y is None else y + more
        if bias is not None:
            column = bias.view(-1, *(1,) * len(convolution.kernel))
            y = column.expand(convolution.forward(wide, weight, None).shape).clone() if y is None else y + column
        if wide_tangent is None or plan.is_identity:
            wide_tangent = wide.new_empty(0) if plan.is_identity else torch.zeros_like(wide)
        return y, wide_tangent

    @staticmethod
    def vmap(info, in_dims, how: _How, x: Tensor, weight: Tensor, bias: Tensor | None):  # type: ignore[no-untyped-def,override]
        tensors = [(t, d) for t, d in zip((x, weight, bias), in_dims[1:], strict=True)]
        if any(d is not None for _, d in tensors[1:]):
            every = [
                _WindowedConvolution.apply(how, *(t if d is None or t is None else t.select(d, k) for t, d in tensors))
                for k in range(info.batch_size)
            ]
            return tuple(torch.stack(parts) for parts in zip(*every, strict=True)), (0, 0)
        merged = x.movedim(in_dims[1], 0)
        y, wide = _WindowedConvolution.apply(how, merged.flatten(0, 1), weight, bias)
        wide = x.new_empty(info.batch_size, 0) if how[0].is_identity else wide.unflatten(0, merged.shape[:2])
        return (y.unflatten(0, merged.shape[:2]), wide), (0, 0)


@uncompiled
def windowed_convolution(
    plan: WindowPlan, comm: MPI.Intracomm, convolution: Convolution, x: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """Convolve this rank's window of a field with parameters that every rank holds.

    Parameters
    ----------
    plan : WindowPlan
        Windows of the input.
    comm : MPI.Intracomm
        All ranks that hold the parameters.
    convolution : Convolution
        Stride, dilation and so on.
    x : Tensor
        (batch, channel, *plan.source_shape).
    weight, bias : Tensor
        As torch has them; their gradients are the sums over all ranks.

    Returns
    -------
    Tensor
        Output of the window, any number of times differentiable.

    Communication
    -------------
    Forward: neighbors, one message per peer. Backward: the same bytes the other way, and one all-reduce of the parameters' gradients.
    """
    autocast = is_autocast(x.device)
    if x.is_complex() or (autocast and x.is_cuda):  # there a backward pass of 16 bits is what autocast is for
        wide = x if plan.is_identity else window(plan, x)[0]
        weight, *rest = replicated_wide(comm, weight) if bias is None else replicated_wide(comm, weight, bias)
        return convolution.forward_any(wide, weight, rest[0] if rest else None)
    apply: Any = _WindowedConvolution.apply
    if not autocast:
        return apply((plan, comm, convolution), x, weight, bias)[0]  # type: ignore[no-any-return]
    x = x if x.dtype == torch.float64 else x.to(torch.get_autocast_dtype(x.device.type))
    with no_autocast(x.device):
        return apply((plan, comm, convolution), x, weight, bias)[0]  # type: ignore[no-any-return]
