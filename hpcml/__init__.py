"""MPI-native scientific machine learning: one field over many ranks.

Nothing heavy is imported until it is used: ``hpcml.Grid`` or ``hpcml.models`` loads what it needs at its first mention.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Domain": "hpcml.fields.domain",
    "Grid": "hpcml.fields.grid",
    "broadcast_parameters": "hpcml.models.replicas",
    "check_parameters": "hpcml.models.replicas",
    "decompose": "hpcml.fields.decompose",
    "load": "hpcml.runs.load",
    "verify": "hpcml.models.verification.verify",
}
_PACKAGES = frozenset(entry.parent.name for entry in Path(__file__).parent.glob("*/__init__.py"))


def __getattr__(name: str) -> Any:
    """Import what ``hpcml.NAME`` stands for (PEP 562): a public name from its home, or a sub-package."""
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    if name in _PACKAGES:
        return import_module(f"hpcml.{name}")
    raise AttributeError(f"hpcml has no {name!r}; it has {', '.join(sorted(_PACKAGES | set(_HOMES)))}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_PACKAGES})
