"""Files: checkpoints to restart from. Nothing is imported until it is used, so that helper processes stay small."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpcml.io.checkpoint import Blocked, Checkpointer, Restored, Rows, SaveInterval, StopSignal, restore

__all__ = ["Blocked", "Checkpointer", "Restored", "Rows", "SaveInterval", "StopSignal", "restore"]


def __getattr__(name: str) -> Any:
    """Import what ``hpcml.io.NAME`` stands for (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.checkpoint"), name)


def __dir__() -> list[str]:
    return __all__
