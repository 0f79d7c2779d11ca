"""A network as parts that are run one after the other, so that a schedule can run some of them here and some of them there."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from hpcml.core.errors import ConfigError

State = tuple[Tensor, ...]
Part = Callable[..., Any]


def in_turn(parts: Sequence[Part], *state: Tensor) -> State:
    """Give each part what the one before gave, a tensor or a tuple of some.

    Communication
    -------------
    That of the parts.

    Examples
    --------
    >>> import torch
    >>> in_turn([lambda x: (x, x + 1), lambda x, y: x * y], torch.tensor(3))
    (tensor(12),)
    """
    for part in parts:
        given = part(*state)
        state = (given,) if isinstance(given, Tensor) else tuple(given)
    return state


def sequential_in(model: nn.Module) -> nn.Module:
    """The network in a model, or the model itself, that is run part by part.

    That is one with a method ``parts(x)``, which gives functions that `in_turn` makes its output of, for an input like x; or an
    `nn.Sequential`, whose parts are its layers.

    Raises
    ------
    ConfigError
        If there is none.

    Communication
    -------------
    Local.
    """
    module = model
    while not (hasattr(module, "parts") or isinstance(module, nn.Sequential)):
        inner = getattr(module, "network", None)
        if not isinstance(inner, nn.Module):
            break
        module = inner
    else:
        return module
    raise ConfigError(
        f"{type(module).__name__} is not run part by part, and what lies between its layers cannot be handed on: give it a method "
        "parts(x), or take MeshGraphNet, MeshTransformer, PhysicsAttentionNet, FNO or an nn.Sequential"
    )


def parts_of(network: nn.Module, x: Tensor) -> list[Part]:
    """Parts of what `sequential_in` gave.

    Communication
    -------------
    That of the network's ``parts``.
    """
    return list(network.children()) if isinstance(network, nn.Sequential) else list(network.parts(x))  # type: ignore[operator]
