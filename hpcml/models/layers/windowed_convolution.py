"""Reading a window and convolving it as one step of differentiation, so that messages travel while the rank works.

    forward      x --window--> x_r --convolve with w--> y_r
    backward     y_r' --> x_r' --adjoint window--> x'        w_r' --sum over ranks--> w'

The window x_r is a second output that no caller sees: as an output it can be kept for the backward pass and yet be differentiated, which is
all that derivatives of any order need.
"""

import torch
from mpi4py import MPI
from torch import Tensor
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from hpcml.models.layers.convolution import Convolution
from hpcml.mpi.call import CallFunction
from hpcml.mpi.reductions import InPlaceSum
from hpcml.parallel.replicated import global_sum, replicated
from hpcml.parallel.window import window, window_adjoint
from hpcml.parallel.window_plan import WindowPlan


class _WindowedConvolution(CallFunction):
    @staticmethod
    def forward(ctx, plan: WindowPlan, comm: MPI.Intracomm, convolution: Convolution, x: Tensor, weight: Tensor, bias: Tensor | None):  # type: ignore[no-untyped-def]
        (wide,) = plan.forward((x,))
        ctx.how = plan, comm, convolution
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(wide, weight)
        return convolution.forward(wide, weight, bias), wide

    @staticmethod
    def backward(ctx, y: Tensor | None, wide_too: Tensor | None):  # type: ignore[no-untyped-def]
        plan, comm, convolution = ctx.how
        wide, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad[3:]
        again = torch.is_grad_enabled()
        if again:
            (weight,) = replicated(comm, weight)
        x = weight_grad = bias_grad = None
        if y is not None:
            x, weight_grad, bias_grad = convolution.backward(y, wide, weight, wanted)
        if wide_too is not None and wanted[0]:
            x = wide_too if x is None else x + wide_too
        given = [g for g in (weight_grad, bias_grad) if g is not None]
        if again:
            sums = global_sum(comm, *given) if given else ()
            x = None if x is None else window_adjoint(plan, x)[0]
        else:
            flat = _flatten_dense_tensors(given) if given else torch.empty(0)
            add_up = InPlaceSum(flat, comm)
            if x is None:
                add_up()
            else:
                (x,) = plan.adjoint((x,), consume=wide_too is None, meanwhile=add_up)
            sums = _unflatten_dense_tensors(flat, given)
        left = iter(sums)
        return None, None, None, x, *(None if g is None else next(left) for g in (weight_grad, bias_grad))


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
    Forward: neighbours, one message per peer. Backward: the same bytes the other way, and one all-reduce of the parameters' gradients.
    """
    if plan.is_identity or x.is_complex() or torch.is_autocast_enabled(x.device.type):
        wide = x if plan.is_identity else window(plan, x)[0]
        shared = replicated(comm, weight) if bias is None else replicated(comm, weight, bias)
        return convolution.forward_any(wide, *shared, *(() if bias is not None else (None,)))
    return _WindowedConvolution.apply(plan, comm, convolution, x, weight, bias)[0]
