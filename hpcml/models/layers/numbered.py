"""Layers that ranks know by name and number, so that one rank's third convolution never gets what another's second one sent."""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any, TypeVar

from torch import nn

from hpcml.core.errors import ConfigError
from hpcml.models.layers.parameters import place
from hpcml.mpi.call import call_as, calling

Layer = TypeVar("Layer", bound=nn.Module)


def numbered(layer: type[Layer]) -> type[Layer]:
    """Decorate a layer that is built with a space: what it communicates bears its class and its number, such as ``Conv2d 3``.

    Layers are numbered as they are built, which all ranks do in one order. A copy of a layer bears the same number. Parameters lie on the
    device of the space, unless ``device=`` says otherwise. On a space with tiles only those layers are built that say ``same_bits``.

    Raises
    ------
    ConfigError
        When the layer is built, on every rank, if it has not the same bits on any number of ranks where the space asks for them.

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
        if space.tiles is not None and not getattr(self, "same_bits", False):
            raise ConfigError(
                f"{name} works on all of a rank's part at once, so its bits depend on how many ranks share the space, which was made with "
                "same_bits=True: leave that out, or see the guide on same bits for the layers that have them"
            )
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
