"""Checkpoints that stream: the whole state of a run, saved while it goes on, restored on any number of ranks."""

from importlib import import_module

_HOME = {
    "Blocked": "placement",
    "Checkpointer": "checkpointer",
    "Restored": "restored",
    "Rows": "placement",
    "SaveInterval": "interval",
    "StopSignal": "signals",
    "restore": "restored",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
