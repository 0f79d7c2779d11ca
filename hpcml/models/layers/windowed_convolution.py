"""Reading a window and convolving it as one step of differentiation, so that messages travel while the rank works.

    forward      x --window--> x_r --convolve with w--> y_r
    backward     y_r' --> x_r' --adjoint window--> x'        w_r' --sum over ranks--> w'

The window x_r is a second output that no caller sees: as an output it can be kept for the backward pass and yet be differentiated, which is
all that derivatives of any order need.
"""

from dataclasses import dataclass

import torch
from mpi4py import MPI
from torch import Tensor
from torch.nn import functional

from hpcml.parallel.replicated import global_sum, replicated, sum_together
from hpcml.parallel.window import window, window_adjoint
from hpcml.parallel.window_plan import WindowPlan


@dataclass(frozen=True, slots=True)
class Convolution:
    """What torch's convolution is told beside its tensors; ``padding`` is the zero padding that is left to it."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    transposed: bool = False
    output_padding: tuple[int, ...] = (0,)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve."""
        return torch.ops.aten.convolution(
            x, weight, bias, self.stride, self.padding, self.dilation, self.transposed, self.output_padding, self.groups
        )

    def backward(self, y: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias, those that are wanted, for the gradient of the output."""
        channels = [weight.shape[1] * self.groups if self.transposed else weight.shape[0]]
        return torch.ops.aten.convolution_backward(
            y, x, weight, channels, self.stride, self.padding, self.dilation, self.transposed, self.output_padding, self.groups, wanted
        )

    def forward_any(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve as the public functions do, which also know complex numbers and autocast."""
        num_dims = x.dim() - 2
        if self.transposed:
            transpose = getattr(functional, f"conv_transpose{num_dims}d")
            return transpose(x, weight, bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation)
        return getattr(functional, f"conv{num_dims}d")(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)


class _WindowedConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, plan: WindowPlan, comm: MPI.Comm, convolution: Convolution, x: Tensor, weight: Tensor, bias: Tensor | None):  # type: ignore[no-untyped-def]
        (wide,) = plan.forward([x])
        ctx.plan, ctx.comm, ctx.convolution = plan, comm, convolution
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(wide, weight)
        return convolution.forward(wide, weight, bias), wide

    @staticmethod
    def backward(ctx, y: Tensor | None, wide_too: Tensor | None):  # type: ignore[no-untyped-def]
        wide, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad[3:]
        again = torch.is_grad_enabled()
        if again:
            (weight,) = replicated(ctx.comm, weight)
        x = weight_grad = bias_grad = None
        if y is not None:
            x, weight_grad, bias_grad = ctx.convolution.backward(y, wide, weight, wanted)
        if wide_too is not None and wanted[0]:
            x = wide_too if x is None else x + wide_too
        if x is not None:
            (x,) = window_adjoint(ctx.plan, x) if again else ctx.plan.adjoint([x], consume=wide_too is None)
        parameters = [g for g in (weight_grad, bias_grad) if g is not None]
        if parameters:
            sums = iter(global_sum(ctx.comm, *parameters) if again else sum_together(parameters, ctx.comm))
            weight_grad, bias_grad = (None if g is None else next(sums) for g in (weight_grad, bias_grad))
        return None, None, None, x, weight_grad, bias_grad


def windowed_convolution(
    plan: WindowPlan, comm: MPI.Comm, convolution: Convolution, x: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """Convolve this rank's window of a field with parameters that every rank holds.

    Parameters
    ----------
    plan : WindowPlan
        Windows of the input.
    comm : MPI.Comm
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
