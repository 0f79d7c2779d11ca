"""Packages whose names are imported when they are first used (PEP 562), so that looking at one starts neither MPI nor torch."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazily(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package.

    Parameters
    ----------
    package : str
        Its ``__name__``.
    homes : mapping of str to str
        By name, the module that it is in; ``hpcml.models.layers`` for ``layers`` of ``hpcml.models`` is the module itself.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> get, names = lazily("hpcml.core", {"ConfigError": "hpcml.core.errors"})
    >>> get("ConfigError").__name__, names()
    ('ConfigError', ['ConfigError'])
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"{package} has no {name!r}; it has {', '.join(sorted(homes))}")
        module = import_module(homes[name])
        value = module if homes[name] == f"{package}.{name}" else getattr(module, name)
        setattr(sys.modules[package], name, value)
        return value

    return get, lambda: sorted(homes)
