"""Linear operators between ranks as functions that torch differentiates in every way: backward, forward, under `torch.func`.

    F x        backward  F* y        forward-mode  F dx        vmap  F of a batch of x at once

The derivative of a linear operator is itself and its adjoint is linear again, so a pair says all there is to say, for any order.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

from hpcml.mpi.call_function import CallFunction

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Operator = Callable[..., Sequence[Tensor]]
Applied = Callable[..., tuple[Tensor, ...]]


def pair(
    forward: Operator, adjoint: Operator, slope: Callable[[Any], Any] = lambda how: how, batch: tuple[int, int] = (0, 0)
) -> tuple[Applied, Applied]:
    """Two operators, each the other's adjoint, as differentiable functions.

    Parameters
    ----------
    forward, adjoint : callable
        ``(how, *tensors)`` to as many tensors, without a gradient; ``how`` is a plan, a communicator or a tuple of what they need.
    slope : callable
        From the ``how`` of an affine operator to that of its linear part.
    batch : (int, int)
        Where another leading dim of a batch belongs in the tensors of ``forward`` and in its results.

    Returns
    -------
    callable, callable
        ``(how, *tensors)`` to a tuple of tensors, differentiable any number of times, both ways.

    Communication
    -------------
    Of the derivatives: that of the operators.
    """
    forth: list[type[CallFunction]] = []
    back: list[type[CallFunction]] = []
    forth.append(_function(forward, forth, back, slope, batch))
    back.append(_function(adjoint, back, forth, slope, batch[::-1]))
    return forth[0].apply, back[0].apply


def _function(
    operator: Operator, own: list[type[CallFunction]], other: list[type[CallFunction]], slope: Callable[[Any], Any], batch: tuple[int, int]
) -> type[CallFunction]:
    class Linear(CallFunction):
        @classmethod
        def apply(cls, how: Any, *tensors: Tensor) -> Any:
            if differentiated(*tensors):
                return super().apply(how, *tensors)
            return tuple(operator(how, *tensors))  # all that there is to do, in half the time of a small exchange

        @staticmethod
        def forward(how: Any, *tensors: Tensor):  # type: ignore[no-untyped-def,override]
            return tuple(operator(how, *tensors))

        @staticmethod
        def setup_context(ctx, inputs, output):  # type: ignore[no-untyped-def,override]
            ctx.how = slope(inputs[0])

        @staticmethod
        def backward(ctx, *cotangents: Tensor):  # type: ignore[no-untyped-def,override]
            return None, *other[0].apply(ctx.how, *cotangents)

        @staticmethod
        def jvp(ctx, _, *tangents: Tensor):  # type: ignore[no-untyped-def,override]
            return own[0].apply(ctx.how, *tangents)

        @staticmethod
        def vmap(info, in_dims, how: Any, *tensors: Tensor):  # type: ignore[no-untyped-def,override]
            moved = [
                t.movedim(d, batch[0])
                if d is not None
                else t.unsqueeze(batch[0]).expand(*t.shape[: batch[0]], info.batch_size, *t.shape[batch[0] :])
                for t, d in zip(tensors, in_dims[1:], strict=True)
            ]
            return own[0].apply(how, *moved), (batch[1],) * len(moved)

    return Linear


def differentiated(*tensors: Tensor) -> bool:
    """Whether torch has to know what is computed of some tensors: for a gradient, forward or backward, or within `torch.func`.

    Communication
    -------------
    Local.
    """
    return transformed() or (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors))


def transformed() -> bool:
    """Whether torch does more than to compute and to go backward: derivatives go forward, or `torch.func` or a compiler is at work.

    Communication
    -------------
    Local.
    """
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0 or torch.compiler.is_compiling()


def uncompiled(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorate a function that communicates: `torch.compile` breaks the graph there and lets it run as it is.

    `torch.compiler.disable` itself takes more than a second to import, which only those who compile should wait for.

    Communication
    -------------
    Local.
    """

    @wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        if torch.compiler.is_compiling():
            return torch.compiler.disable(function)(*args, **kwargs)
        return function(*args, **kwargs)

    return call
