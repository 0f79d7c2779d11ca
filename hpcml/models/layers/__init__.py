"""Layers on a domain: each is the serial torch layer on one rank and its exact equal on many.

A layer is constructed as torch's is, after the domain of its input, and tells the domain of its output as ``domain_out``.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "conv": ("Conv1d", "Conv2d", "Conv3d"),
    "conv_transpose": ("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"),
    "interpolate": ("Interpolate",),
    "pad": ("Pad",),
    "pixel_shuffle": ("PixelShuffle", "PixelUnshuffle"),
    "rolling": ("Roll", "roll"),
    "slices": ("Slice",),
    "spectral_conv": ("SpectralConv",),
    "pool": ("AvgPool1d", "AvgPool2d", "AvgPool3d", "MaxPool1d", "MaxPool2d", "MaxPool3d"),
    "channel_mlp": ("ChannelMLP",),
    "dropout": ("Dropout",),
    "norm_batch": ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d"),
    "norm_group": ("GroupNorm",),
    "norm_instance": ("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"),
    "norm_layer": ("LayerNorm",),
    "pointwise": ("Pointwise",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
