"""Networks on fields that many ranks share, and the layers that they are built from.

Nothing is imported until it is used.
"""

from importlib import import_module

_MODULES: dict[str, tuple[str, ...]] = {
    "fno": ("FNO",),
    "unet": ("UNet",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name == "layers":
        return import_module(f"{__name__}.layers")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "layers"]
