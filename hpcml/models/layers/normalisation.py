"""The normalisation that an option asks for."""

from math import gcd

from torch import nn

from hpcml.core.errors import ConfigError
from hpcml.models.layers.norm_batch import BatchNorm1d, BatchNorm2d, BatchNorm3d
from hpcml.models.layers.norm_group import GroupNorm
from hpcml.models.layers.norm_instance import InstanceNorm1d, InstanceNorm2d, InstanceNorm3d
from hpcml.parallel.space import Space

NORMS = ("none", "batch", "group", "instance")
MOST_GROUPS = 8


def normalisation(kind: str, space: Space, channels: int) -> nn.Module:
    """Layer that normalises a field of some channels.

    Parameters
    ----------
    kind : str
        ``none``, ``batch``, ``group`` (of at most 8 groups, as many as divide the channels) or ``instance`` (with scale and shift).
    space : Space
        Of the field.
    channels : int
        Of the field.

    Raises
    ------
    ConfigError
        For any other kind.

    Communication
    -------------
    Construction: that of the layer.
    """
    if kind == "none":
        return nn.Identity()
    if kind == "batch":
        return (BatchNorm1d, BatchNorm2d, BatchNorm3d)[space.num_dims - 1](space, channels)
    if kind == "group":
        return GroupNorm(space, gcd(MOST_GROUPS, channels), channels)
    if kind == "instance":
        return (InstanceNorm1d, InstanceNorm2d, InstanceNorm3d)[space.num_dims - 1](space, channels, affine=True)
    raise ConfigError(f"unknown norm {kind!r}: expected one of {', '.join(NORMS)}")
