"""Layers that ranks know by name and number, so that one rank's third convolution never gets what another's second one sent."""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any, TypeVar

from torch import nn

from hpcml.models.layers.parameters import place
from hpcml.mpi.call import call_as, calling

Layer = TypeVar("Layer", bound=nn.Module)


def numbered(layer: type[Layer]) -> type[Layer]:
    """Decorate a layer that is built with a space: what it communicates bears its class and its number, such as ``Conv2d 3``.

    Layers are numbered as they are built, which all ranks do in one order. A copy of a layer bears the same number. Parameters lie on the
    device of the space, unless ``device=`` says otherwise.

    Communication
    -------------
    Local.
    """
    build: Callable[..., None] = layer.__init__
    forward = layer.forward
    word = list(signature(build).parameters)[1]

    @wraps(build)
    def named_build(self: Any, *args: Any, **kwargs: Any) -> None:
        space = args[0] if args else kwargs[word]
        name = self.__dict__.setdefault("_call", space.number(type(self).__name__))
        with calling(name):
            build(self, *args, **kwargs)
        if kwargs.get("device") is None:
            place(self, space.device)

    @wraps(forward)
    def named_forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        return call_as(self.__dict__.get("_call") or type(self).__name__, forward, self, *args, **kwargs)

    layer.__init__ = named_build  # type: ignore[assignment]
    layer.forward = named_forward
    return layer
