"""One model on several spaces: a twin for each, which has the parameters of the first."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from torch import nn

from hpcml.parallel.space import Space

Model = TypeVar("Model", bound=nn.Module)


def twins(build: Callable[[Space], Model], spaces: Sequence[Space]) -> Model:
    """Build a model on every space, all of them with the parameters and buffers of the first.

    Parameters
    ----------
    build : callable
        Of a space; makes a model of the same parts on each.
    spaces : sequence of Space
        Where samples lie, such as meshes of different size. The first is where the model itself is built.

    Returns
    -------
    Module
        The model on the first space, with its state dict. `on_space` gives it on another.

    Communication
    -------------
    That of building.

    Examples
    --------
    >>> import torch
    >>> from mpi4py import MPI
    >>> from hpcml.fields import Grid, decompose
    >>> from hpcml.models.layers import ChannelMLP
    >>> grids = [decompose(Grid((cells,)), MPI.COMM_SELF) for cells in (8, 16)]
    >>> model = twins(lambda domain: ChannelMLP(domain, 1, 4, 1), grids)
    >>> on_space(model, grids[1])(torch.zeros(1, 1, 16)).shape
    torch.Size([1, 1, 16])
    """
    model = build(spaces[0])
    if len(spaces) > 1:
        model._twins = [(space, build(space)) for space in spaces[1:]]  # type: ignore[assignment]
    return model


def on_space(model: nn.Module, space: Space) -> nn.Module:
    """The twin of a model on a space, as the model is now; the model itself where it has none.

    Communication
    -------------
    Local.
    """
    for known, twin in model.__dict__.get("_twins", ()):
        if known is space:
            _tie(twin, model)
            return twin
    return model


def all_twins(model: nn.Module) -> list[nn.Module]:
    """The model, and its twins.

    Communication
    -------------
    Local.
    """
    return [model, *(twin for _, twin in model.__dict__.get("_twins", ()))]


def _tie(twin: nn.Module, model: nn.Module) -> None:
    """Give a twin what stands for parameters and buffers in the model now; buffers that are not stored are its own."""
    for ours, theirs in zip(twin.modules(), model.modules(), strict=True):
        ours._parameters.update(theirs._parameters)
        ours._buffers.update({name: value for name, value in theirs._buffers.items() if name not in theirs._non_persistent_buffers_set})
        ours.training = theirs.training
