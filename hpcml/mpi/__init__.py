"""MPI ranks: the world they form, how they were launched, where they compute, how they reduce, agree and fail together.

Nothing is imported until it is used, so `import hpcml.mpi` starts neither MPI nor torch.
"""

from importlib import import_module

_HOME = {
    "Launch": "launcher",
    "World": "world",
    "world": "world",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
