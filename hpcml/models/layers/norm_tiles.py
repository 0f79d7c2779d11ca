"""Normalisation whose statistics are sums over tiles, so that it has the same bits on any number of ranks."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hpcml.models.layers.norm_statistics import accurate
from hpcml.models.layers.parameters import replicated_together
from hpcml.models.layers.tilewise import sum_tilewise, tilewise
from hpcml.mpi.meeting import meet


def normalise_tilewise(layer: Any, x: Tensor, groups: int, over_samples: bool) -> tuple[Tensor, Tensor, Tensor, int]:
    """Normalise groups of channels by mean and variance over all points, as `hpcml.models.layers.normalise.normalise` does over ranks.

    Parameters
    ----------
    layer : Module
        With ``space``, ``eps``, and ``weight`` and ``bias`` of one number per channel, or None.
    x : Tensor
        Field on the space.
    groups : int
        Of neighboring channels.
    over_samples : bool
        Whether one mean is of all samples.

    Returns
    -------
    y : Tensor
        Of the shape and dtype of ``x``; any number of times differentiable.
    mean, variance : Tensor
        float64, ([sample,] group), the same on every rank; the variance divided by n.
    count : int
        n.

    Communication
    -------------
    Collective over space.comm: forward two sums over tiles of a number per mean, backward as many, after ranks have met over the dtype.
    """
    space, points = layer.space, layer.space.points(x)
    meet(space.comm, "statistics", str(x.dtype).removeprefix("torch."))
    dims, width = (0, 1, 3) if over_samples else (1, 3), points.shape[-1] // groups
    count = space.num_points_global * width * (len(points) if over_samples else 1)

    def grouped(rows: Tensor) -> Tensor:
        return rows.unflatten(-1, (groups, width))

    def columns(statistics: Tensor) -> Tensor:
        return statistics.view(-1, 1, groups, 1)

    mean = sum_tilewise(space, lambda rows: grouped(rows).double().sum(dims), points) / count
    squares = sum_tilewise(space, lambda rows, m: (grouped(rows) - columns(m)).square().sum(dims), points, shared=[mean])
    variance = squares / count

    def normal(rows: Tensor, m: Tensor, v: Tensor) -> Tensor:
        wide = accurate(rows.dtype)
        y = ((grouped(rows) - columns(m).to(wide)) * columns(torch.rsqrt(v + layer.eps)).to(wide)).flatten(-2)
        y = y if layer.weight is None else y * layer.weight.to(wide)
        return (y if layer.bias is None else y + layer.bias.to(wide)).to(rows.dtype)

    with replicated_together(layer, space.world_comm, space.tiles):
        y = tilewise(space, normal, points, of=layer, on="points", shared=[mean, variance])
    return space.as_field_of(y, x), mean.detach(), variance.detach(), count


def scale_tilewise(layer: Any, x: Tensor) -> Tensor:
    """Normalise by the running statistics of a layer.

    Communication
    -------------
    Backward one sum over tiles of weight and bias.
    """
    space = layer.space

    def scaled(rows: Tensor) -> Tensor:
        first = rows.movedim(-1, 1)
        return F.batch_norm(first, layer.running_mean, layer.running_var, layer.weight, layer.bias, eps=layer.eps).movedim(1, -1)

    with replicated_together(layer, space.world_comm, space.tiles):
        return space.as_field_of(tilewise(space, scaled, space.points(x), of=layer, on="points"), x)  # type: ignore[no-any-return]
