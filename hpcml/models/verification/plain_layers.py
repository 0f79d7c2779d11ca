"""Torch's own layers that see one rank's block only, and what to use instead."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn
from torch.nn import modules


@dataclass(frozen=True, slots=True)
class PlainLayer:
    """A torch layer in a model over ranks.

    Attributes
    ----------
    name : str
        Its path in the model, as in ``named_modules``.
    layer : str
        Its settings.
    instead : str
        What to use instead.
    """

    name: str
    layer: str
    instead: str

    def __str__(self) -> str:
        return f"{self.name or 'model'}: {self.layer}: {self.instead}"


_NAMESAKES: tuple[type[nn.Module], ...] = (
    modules.conv._ConvNd,
    modules.pooling._AvgPoolNd,
    modules.pooling._MaxPoolNd,
    modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.Dropout,
    nn.PixelShuffle,
    nn.PixelUnshuffle,
)
_RANDOM = (modules.dropout._DropoutNd, nn.RReLU)
_SPATIAL = (
    modules.padding._ConstantPadNd,
    modules.padding._ReflectionPadNd,
    modules.padding._ReplicationPadNd,
    modules.padding._CircularPadNd,
)
_WITHOUT_EQUAL = (
    nn.MultiheadAttention,
    nn.Transformer,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoderLayer,
    modules.rnn.RNNBase,
    modules.pooling._LPPoolNd,
    modules.pooling._AdaptiveAvgPoolNd,
    modules.pooling._AdaptiveMaxPoolNd,
    modules.pooling._MaxUnpoolNd,
    nn.FractionalMaxPool2d,
    nn.FractionalMaxPool3d,
    nn.Fold,
    nn.Unfold,
)


def advice(layer: nn.Module) -> str | None:
    """What to use instead of a torch layer over ranks; None for one that is right there, and for whatever is not torch's.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> advice(nn.GELU()) is None
    True
    >>> advice(nn.Conv2d(1, 1, 3))
    'use hpcml.models.layers.Conv2d(domain, ...)'
    """
    lineage = [base.__module__.partition(".")[0] for base in type(layer).__mro__]
    name = type(layer).__name__
    if "hpcml" in lineage or "torch" not in lineage or isinstance(layer, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        return None
    if isinstance(layer, _NAMESAKES):
        own = next(base.__name__ for base in type(layer).__mro__ if base.__module__.startswith("torch."))
        return f"use hpcml.models.layers.{own}(domain, ...)"
    if isinstance(layer, nn.Upsample):
        return "use hpcml.models.layers.Interpolate(domain, ...)"
    if isinstance(layer, _SPATIAL):
        return "use hpcml.models.layers.Pad(domain, ...)"
    if isinstance(layer, nn.LayerNorm):
        return (
            "use hpcml.models.layers.LayerNorm(domain, ...) over space, or Pointwise(domain, torch.nn.LayerNorm(...), channels_last=True) "
            "over channels"
        )
    if isinstance(layer, _RANDOM):
        return "its random numbers depend on the rank: use hpcml.models.layers.Dropout(domain, ...)"
    if isinstance(layer, modules.loss._Loss):
        return "it averages over one block: use hpcml.training.loss"
    if isinstance(layer, _WITHOUT_EQUAL):
        return "it has no equal over ranks: if it does not mix cells of the field, wrap it in hpcml.models.layers.Pointwise(domain, ...)"
    if type(layer).__module__.startswith("torch.nn.") and any(True for _ in layer.parameters(recurse=False)):
        return f"the gradients of its parameters are those of one block: wrap it, Pointwise(domain, {name}(...))"
    return None


def plain_layers(model: nn.Module) -> Iterator[tuple[nn.Module, PlainLayer]]:
    """Torch layers of a model for which there is `advice`, except within modules that say ``shares_gradients``, `Pointwise` for one."""
    wrapped: set[int] = set()
    for name, layer in model.named_modules():
        if getattr(layer, "shares_gradients", False):
            wrapped.update(id(inner) for inner in layer.modules())
        instead = None if id(layer) in wrapped else advice(layer)
        if instead is not None:
            yield layer, PlainLayer(name, str(layer).splitlines()[0], instead)
