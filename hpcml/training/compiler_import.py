"""Optimisers of torch that do not import its compiler, which takes two seconds of every process, and a thousand files of a shared disk.

Their methods are closed to the compiler, and each begins with importing it to tell it so. As long as nobody else has imported it, nothing
is compiled, and there is nothing to tell.
"""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from torch import _compile
from torch.optim import Optimizer, optimizer

COMPILER = "torch._dynamo"
Kind = TypeVar("Kind", bound=Optimizer)


def without_compiler(kind: type[Kind]) -> type[Kind]:
    """A class of torch's optimisers that computes the same and imports the compiler only where somebody compiles.

    Where torch closes methods in another way than it does today, they are as they were.

    Communication
    -------------
    Local.
    """
    methods = {name: _unhooked(getattr(kind, name)) for name in dir(kind) if not name.startswith("_")}
    changed = {name: _left_alone(method) for name, method in methods.items() if _imports_compiler(method)}
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    pickled = {"__reduce__": lambda self: (kind.__new__, (kind,), self.__getstate__())}  # as one of torch's
    return cast(type[Kind], type(kind.__name__, (kind,), changed | names | pickled))


def _unhooked(method: Any) -> Any:
    """Without the profiler's hook, which torch puts around the step of each class whose first optimiser is made."""
    return method.__wrapped__ if getattr(method, "hooked", False) else method


def _imports_compiler(method: Any) -> bool:
    """Whether it is one of the two decorators that close a method."""
    made_by = getattr(method, "__globals__", None)
    return hasattr(method, "__wrapped__") and (made_by is vars(_compile) or method.__code__.co_name == "_use_grad")


def _left_alone(closed: Any) -> Callable[..., Any]:
    plain, is_step = closed.__wrapped__, closed.__globals__ is vars(optimizer)

    @wraps(plain)
    def method(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        if COMPILER in sys.modules:
            return closed(self, *args, **kwargs)
        with torch.set_grad_enabled(self.defaults["differentiable"] if is_step else torch.is_grad_enabled()):
            return plain(self, *args, **kwargs)

    return method
