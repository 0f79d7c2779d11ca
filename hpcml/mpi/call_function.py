"""Autograd functions that know which call they belong to; apart from `hpcml.mpi.call` so that ranks can meet without torch."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch._functorch.utils import unwrap_dead_wrappers

from hpcml.mpi.call import current_call, resumed


class CallFunction(torch.autograd.Function):
    """An autograd function whose backward pass bears the name of the call that its forward pass belonged to."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Wrap what meets the context first, and the backward pass."""
        super().__init_subclass__(**kwargs)
        first = "setup_context" if "setup_context" in cls.__dict__ else "forward"
        setattr(cls, first, staticmethod(_noting(cls.__dict__[first].__func__)))
        cls.backward = staticmethod(_resuming(cls.__dict__["backward"].__func__))  # type: ignore[method-assign]

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Call it. Torch binds the arguments to the signature of ``forward`` first, by sixty calls of Python: none has defaults here."""
        if torch._C._are_functorch_transforms_active():
            return super().apply(*args)
        return super(torch.autograd.Function, cls).apply(*unwrap_dead_wrappers(args))  # type: ignore[misc]


def _noting(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def noting(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        ctx.call = current_call()
        return function(ctx, *args, **kwargs)

    return noting


def _resuming(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def resuming(ctx: Any, *cotangents: Any) -> Any:
        name = ctx.call
        with resumed(name if not name or name.endswith(" backward") else f"{name} backward"):
            return function(ctx, *cotangents)

    return resuming
