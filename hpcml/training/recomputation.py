"""Compute parts of a model again in the backward pass, instead of keeping what they computed in the forward pass."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from fnmatch import fnmatchcase
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from hpcml.core.errors import ConfigError


def recompute(model: nn.Module, parts: Iterable[str] = ()) -> list[nn.Module]:
    """Let the blocks of a model keep nothing but what they are given; the backward pass computes the rest again, block by block.

    Parameters
    ----------
    model : Module
        Anybody's. Its state dict stays as it is.
    parts : iterable of str
        Names as in ``model.named_modules()``, ``*`` for any part, as in "network.blocks.*". By default the blocks are found: of the first
        level of the model that has several parts those that have parts themselves, where elements of a ModuleList or ModuleDict count as
        parts of the model; if there are none, the whole level is one block.

    Returns
    -------
    list of Module
        The blocks.

    Raises
    ------
    ConfigError
        For a name that no part is like.

    Communication
    -------------
    Local. A block that communicates in its forward pass does so again in the backward pass, in the same order on every rank.

    Notes
    -----
    Gradients have the same bits. Random numbers of torch are drawn again alike; buffers, such as running means or the number of a dropout
    mask, are for the second time what they were at the first, and change once. An `nn.Sequential` of single layers is one block, so that
    the backward pass has all of it in memory: cut it into several `nn.Sequential` of some layers each.

    References
    ----------
    T. Chen et al., Training deep nets with sublinear memory cost, arXiv:1604.06174.

    Examples
    --------
    >>> model = nn.ModuleList(nn.Sequential(nn.Linear(2, 2), nn.GELU(), nn.Linear(2, 2)) for _ in range(3))
    >>> len(recompute(model)), len(recompute(model, ["0", "1"]))
    (3, 2)
    """
    blocks = _named(model, tuple(parts)) or list(dict.fromkeys(_blocks(model)))
    for block in blocks:
        if not isinstance(block.forward, _Recomputed):
            block.forward = _Recomputed(block, block.forward)  # type: ignore[method-assign]
    return blocks


def _named(model: nn.Module, patterns: tuple[str, ...]) -> list[nn.Module]:
    modules = {name: module for name, module in model.named_modules() if name}
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in modules):
            raise ConfigError(f"training.recompute: no part of the model is called like {pattern!r}; there are {', '.join(modules)}")
    return [module for name, module in modules.items() if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _blocks(model: nn.Module) -> list[nn.Module]:
    parts = list(_parts(model))
    if len(parts) == 1 and any(parts[0].children()):
        return _blocks(parts[0])
    return [part for part in parts if any(part.children())] or [model]


def _parts(model: nn.Module) -> Iterator[nn.Module]:
    """Children; a list is never called, its elements are."""
    for child in model.children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield from _parts(child)
        else:
            yield child


class _Recomputed:
    """Forward pass of a block."""

    def __init__(self, block: nn.Module, forward: Callable[..., Any]) -> None:
        self._block, self._forward = block, forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self._forward(*args, **kwargs)
        # To its end: a forward pass that torch ends early could leave an exchange open that it has begun.
        with set_checkpoint_early_stop(False):
            return checkpoint(self._forward, *args, use_reentrant=False, context_fn=self._contexts, **kwargs)

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _AsItWas(self._block)


class _AsItWas:
    """What a block held when this was made, for a block of statements: buffers, and whatever then stood for its parameters."""

    def __init__(self, block: nn.Module) -> None:
        self._tables: list[tuple[dict[str, Any], dict[str, Any], bool]] = []
        for part in block.modules():
            self._tables.append((part._parameters, dict(part._parameters), False))
            self._tables.append((part._buffers, {name: _copy(value) for name, value in part._buffers.items()}, True))

    def __enter__(self) -> None:
        self._now = [(table, dict(table)) for table, _, _ in self._tables]
        for table, before, changes in self._tables:
            table.update({name: _copy(value) for name, value in before.items()} if changes else before)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for table, now in self._now:
            table.update(now)


def _copy(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.clone()
