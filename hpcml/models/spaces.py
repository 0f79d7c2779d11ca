"""The spaces that a model holds."""

from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

from torch import Tensor, nn

from hpcml.parallel.space import Space


def spaces_of(model: nn.Module) -> list[Space]:
    """Every space that a model holds, in the order of its attributes, alike on every rank.

    Searched are the attributes of modules and of plain objects, and the elements of lists, tuples, sets and dicts; not the variables that
    a function has captured.

    Communication
    -------------
    Local.
    """
    return list(_walk(model, set()))


def _walk(thing: Any, seen: set[int]) -> Iterator[Space]:
    if id(thing) in seen or isinstance(thing, Tensor | str | bytes | int | float | complex | type | ModuleType | FunctionType | None):
        return
    seen.add(id(thing))
    if isinstance(thing, Space):
        yield thing
        return
    inner: list[Any] = []
    if isinstance(thing, dict):
        inner += [*thing.keys(), *thing.values()]
    elif isinstance(thing, list | tuple | set | frozenset):
        inner += thing
    inner += getattr(thing, "__dict__", {}).values()
    inner += [getattr(thing, name) for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ()) if hasattr(thing, name)]
    for part in inner:
        yield from _walk(part, seen)
