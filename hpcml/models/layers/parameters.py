"""Parameters that every rank holds alike."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mpi4py import MPI
from torch import Tensor, nn

from hpcml.models.layers.tilewise import PerTile
from hpcml.parallel.collectives import broadcast
from hpcml.parallel.replicated import replicated
from hpcml.parallel.tiles import Tiles, refuse_tiles


def share_parameters(module: nn.Module, comm: MPI.Intracomm) -> None:
    """Give every rank the initial parameters and buffers of rank 0, whatever seed the others had.

    Communication
    -------------
    Collective over comm: one broadcast per parameter and buffer.
    """
    if comm.size == 1:
        return
    with torch.no_grad():
        for value in (*module.parameters(), *module.buffers()):
            value.copy_(broadcast(comm, value))


def place(module: nn.Module, device: torch.device) -> None:
    """Move what a new layer holds to the device of its domain; initial values are drawn on the CPU, alike for every device.

    Communication
    -------------
    Local.
    """
    if device.type != "cpu":
        module.to(device)


def a_parameter(module: nn.Module) -> Tensor | None:
    """A parameter of the first part of a module that has any, in a tenth of the time that ``next(module.parameters())`` takes.

    Communication
    -------------
    Local.
    """
    for value in module._parameters.values():
        if value is not None:
            return value
    for part in module._modules.values():
        if part is not None and (found := a_parameter(part)) is not None:
            return found
    return None


def replicated_wide(comm: MPI.Intracomm, *values: Tensor) -> tuple[Tensor, ...]:
    """`replicated`, in float32 or wider, so that what the ranks' gradients are summed from was not rounded to 16 bits before.

    Communication
    -------------
    That of `replicated`.
    """
    if comm.size == 1:
        return values
    return replicated(comm, *(_wide(value, comm) for value in values))


def _wide(value: Tensor, comm: MPI.Intracomm) -> Tensor:
    wide = value if value.is_complex() else value.to(torch.promote_types(value.dtype, torch.float32))
    if wide is not value and getattr(value, "replicated_over", None) is comm:
        wide.replicated_over = comm  # type: ignore[attr-defined]
    return wide


def columns(layer: Any, comm: MPI.Intracomm, *ones: int) -> tuple[Tensor | None, Tensor | None]:
    """Weight and bias as `replicated_wide` gives them, with dims of one cell appended; either may be absent.

    Communication
    -------------
    That of `replicated`.
    """
    used = iter(replicated_wide(comm, *(p for p in (layer.weight, layer.bias) if p is not None)))
    weight, bias = (None if p is None else next(used).view(*p.shape, *ones) for p in (layer.weight, layer.bias))
    return weight, bias


def weight_and_bias(layer: Any, comm: MPI.Intracomm) -> tuple[Tensor, Tensor | None]:
    """Weight and bias for this rank's part of the work; their gradients are the sums over all ranks."""
    if layer.bias is None:
        return replicated(comm, layer.weight)[0], None
    weight, bias = replicated(comm, layer.weight, layer.bias)
    return weight, bias


@contextmanager
def replicated_together(module: nn.Module, comm: MPI.Intracomm, tiles: Tiles | None = None) -> Iterator[None]:
    """Within this block the layers of a module share one sum over the ranks for all gradients, instead of each asking for its own.

    Layers that say ``sums_gradients_itself`` are left alone: convolutions of a kernel add up theirs while their halo travels. Layers
    with an attribute ``takes_wide`` get 16-bit parameters in float32, see `replicated_wide`. With the tiles of a space every tile has
    parameters of its own, for `hpcml.models.layers.tilewise.tilewise`.

    Communication
    -------------
    Forward: local. Backward: one all-reduce per precision, after that of all layers; or one sum over tiles.
    """
    if tiles is None:
        refuse_tiles(comm, "the sum of gradients")
    if comm.size == 1 and tiles is None:
        yield
        return
    places: list[tuple[dict[str, Any], str]] = []
    values, given = [], list[Tensor]()
    for part in module.modules():
        if getattr(part, "sums_gradients_itself", False):
            continue
        for name, value in part._parameters.items():
            if value is not None and not isinstance(value, PerTile):
                places.append((part._parameters, name))
                values.append(value)
                given.append(_wide(value, comm) if getattr(part, "takes_wide", False) else value)
    every = replicated(comm, *given) if tiles is None else _per_tile(tiles, [name for _, name in places], given)
    for (owner, name), used in zip(places, every, strict=True):
        owner[name] = used
    try:
        yield
    finally:
        for (owner, name), value in zip(places, values, strict=True):
            owner[name] = value


def _per_tile(tiles: Tiles, names: list[str], values: list[Tensor]) -> list[PerTile]:
    return [PerTile(name, each, value) for name, each, value in zip(names, tiles.spread(*values), values, strict=True)]
