"""Compute parts of a model again in the backward pass, instead of keeping what they computed in the forward pass."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from fnmatch import fnmatchcase
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from hpcml.core.errors import ConfigError

LONG = 3
"""Blocks of a list from which on the last is kept: it is the first that the backward pass needs, so keeping it adds nothing to the peak."""


def recompute(model: nn.Module, parts: Iterable[str] = ()) -> list[nn.Module]:
    """Let the blocks of a model keep nothing but what they are given; the backward pass computes the rest again, block by block.

    Parameters
    ----------
    model : Module
        Anybody's. Its state dict stays as it is.
    parts : iterable of str
        Names as in ``model.named_modules()``, ``*`` for any part, as in "network.blocks.*". By default the blocks are found: of the first
        level of the model that has several parts those that have parts themselves, where the elements of a list of blocks (a ModuleList, a
        ModuleDict, or an `nn.Sequential` of several blocks) count as parts of the model, but for the last of a list of three or more: it is
        needed as soon as the backward pass begins. If there are none, the whole level is one block.

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
    (2, 2)
    """
    blocks = _named(model, tuple(parts)) or list(dict.fromkeys(_blocks(model)))
    for block in blocks:
        if not isinstance(block.forward, Recomputed):
            block.forward = Recomputed(block, block.forward)  # type: ignore[method-assign]
    return blocks


def _named(model: nn.Module, patterns: tuple[str, ...]) -> list[nn.Module]:
    modules = {name: module for name, module in model.named_modules() if name}
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in modules):
            raise ConfigError(f"training.recompute: no part of the model is called like {pattern!r}; there are {', '.join(modules)}")
    return [module for name, module in modules.items() if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _blocks(model: nn.Module) -> list[nn.Module]:
    """Parts of the first level that has several, if they have parts themselves."""
    children = list(model.children())
    if len(children) == 1 and any(children[0].children()):
        return _blocks(children[0])
    if _is_list(model):
        return _elements(model)
    return [block for child in children for block in (_elements(child) if _is_list(child) else [child] * _is_block(child))] or [model]


def _is_block(module: nn.Module) -> bool:
    return any(module.children())


def _is_list(module: nn.Module) -> bool:
    several = isinstance(module, nn.Sequential) and sum(map(_is_block, module)) > 1
    return several or isinstance(module, nn.ModuleList | nn.ModuleDict)


def _elements(blocks: nn.Module) -> list[nn.Module]:
    """Blocks of a list without the last, whose activations are all there when the backward pass comes to it: it is its first."""
    inner = filter(_is_block, blocks.children())
    found = [block for child in inner for block in (_elements(child) if _is_list(child) else [child])]
    return found[:-1] if len(found) >= LONG else found


class Recomputed:
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
