"""Parameters that every rank holds alike."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mpi4py import MPI
from torch import Tensor, nn

from hpcml.parallel.collectives import broadcast
from hpcml.parallel.replicated import replicated


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


def weight_and_bias(layer: Any, comm: MPI.Intracomm) -> tuple[Tensor, Tensor | None]:
    """Weight and bias for this rank's part of the work; their gradients are the sums over all ranks."""
    if layer.bias is None:
        return replicated(comm, layer.weight)[0], None
    weight, bias = replicated(comm, layer.weight, layer.bias)
    return weight, bias


@contextmanager
def replicated_together(module: nn.Module, comm: MPI.Intracomm) -> Iterator[None]:
    """Within this block the layers of a module share one sum over the ranks for all gradients, instead of each asking for its own.

    Only for layers that call `replicated`, not for convolutions of a kernel, which add up their gradients while their halo travels.

    Communication
    -------------
    Forward: local. Backward: one all-reduce per precision, after that of all layers.
    """
    if comm.size == 1:
        yield
        return
    owners: list[dict[str, Any]] = [part._parameters for part in module.modules()]
    places = [(owner, name) for owner in owners for name, value in owner.items() if value is not None]
    values = [owner[name] for owner, name in places]
    for (owner, name), used in zip(places, replicated(comm, *values), strict=True):
        owner[name] = used
    try:
        yield
    finally:
        for (owner, name), value in zip(places, values, strict=True):
            owner[name] = value
