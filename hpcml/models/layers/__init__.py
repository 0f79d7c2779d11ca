"""Layers on a domain, or on any space: each is the serial torch layer on one rank and its exact equal on many.

A layer is constructed as torch's is, after the domain or space of its input. Those of grids tell the domain of the output: ``domain_out``.
"""

from hpcml.core.lazy import lazily

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
    "point_coordinates": ("coordinates",),
    "dropout": ("Dropout",),
    "edge_index_layer": ("EdgeIndexLayer",),
    "ewald": ("Ewald",),
    "graph_attention": ("GraphAttention",),
    "latent_attention": ("LatentAttention",),
    "physics_attention": ("PhysicsAttention",),
    "norm_batch": ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d"),
    "norm_group": ("GroupNorm",),
    "norm_instance": ("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"),
    "norm_layer": ("LayerNorm",),
    "pointwise": ("Pointwise",),
}
_HOMES = {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names}
__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazily(__name__, _HOMES)
