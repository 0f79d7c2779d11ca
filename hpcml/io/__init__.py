"""Files: checkpoints to restart from. Nothing is imported until it is used, so that helper processes stay small."""

from importlib import import_module

_HOME = {
    "Blocked": "checkpoint",
    "Checkpointer": "checkpoint",
    "Rows": "checkpoint",
    "SaveInterval": "checkpoint",
    "StopSignal": "checkpoint",
    "restore": "checkpoint",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
