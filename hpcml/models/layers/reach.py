"""Which inputs an operator reads for its outputs: all that a layer must say to run on a field that many ranks share.

A layer gives one `Reach` per dim. From it and the ownership of the outputs every rank works out every rank's window of the input, without
communication; the windows are then read by `hpcml.parallel.window`, whatever their size, and the plain local operator does the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hpcml.core.errors import ShapeError
from hpcml.fields.domain import Domain
from hpcml.models.layers.autocast import is_autocast
from hpcml.mpi.patience import end_where_uncaught
from hpcml.parallel.layout import Layout, Range
from hpcml.parallel.linear import uncompiled
from hpcml.parallel.space import Space
from hpcml.parallel.window import window
from hpcml.parallel.window_plan import WindowPlan

AT_MOST_32 = (torch.float32, torch.float16, torch.bfloat16)


class Reach(Protocol):
    """Inputs that a run of outputs reads along one dim. Must be hashable and small: it names the plan."""

    def __call__(self, outputs: Range) -> Range:
        """Half-open range of inputs for a half-open, non-empty range of outputs; may reach outside the field."""


@dataclass(frozen=True, slots=True)
class Stencil:
    """Reach of a convolution or a pooling: output o reads inputs o s - before + dilation j for 0 <= j < kernel.

    Parameters
    ----------
    kernel, stride, dilation : int
        As in torch.
    before : int
        Padding below the first input.
    """

    kernel: int
    stride: int = 1
    dilation: int = 1
    before: int = 0

    def __call__(self, outputs: Range) -> Range:
        first, last = outputs[0], outputs[1] - 1
        return first * self.stride - self.before, last * self.stride - self.before + self.dilation * (self.kernel - 1) + 1


@dataclass(frozen=True, slots=True)
class Shifted:
    """Reach of an operator that only moves cells: output o reads input o - shift."""

    shift: int

    def __call__(self, outputs: Range) -> Range:
        return outputs[0] - self.shift, outputs[1] - self.shift


@dataclass(frozen=True, slots=True)
class Everything:
    """Reach of a dim that is not split: all inputs, with the padding left to the local operator."""

    num_cells: int

    def __call__(self, outputs: Range) -> Range:
        return 0, self.num_cells


@uncompiled
def window_plan(domain: Domain, domain_out: Domain, reaches: tuple[Reach, ...], boundary: tuple[str, ...]) -> WindowPlan:
    """Plan that gives every rank the inputs of its outputs.

    Parameters
    ----------
    domain, domain_out : Domain
        Of the inputs and the outputs, on the same ranks.
    reaches : tuple of Reach
        One for each dim.
    boundary : tuple of str
        Rule for inputs outside the field, one for each dim.

    Communication
    -------------
    Local.
    """

    def windows() -> Layout:
        owned = domain_out.layout.ranges
        return Layout(domain.global_shape, tuple(tuple(map(reach, ranges)) for reach, ranges in zip(reaches, owned, strict=True)))

    return domain.plan((reaches, domain_out.global_shape), windows, boundary)


@uncompiled
def read_inputs(
    x: Tensor,
    domain: Domain,
    domain_out: Domain,
    reaches: tuple[Reach, ...],
    boundary: tuple[str, ...],
    fill: float = 0.0,
    copy: bool = False,
) -> Tensor:
    """Inputs of this rank's outputs, differentiably.

    Parameters
    ----------
    x : Tensor
        (batch, channel, *domain.local_shape).
    domain, domain_out, reaches, boundary
        As for `window_plan`.
    fill : float
        Value outside the field for the rule ``constant``.
    copy : bool
        Never give ``x`` itself: for layers whose output this is.

    Returns
    -------
    Tensor
        (batch, channel, *window); without ``copy``, ``x`` itself where every rank's window is its block.

    Communication
    -------------
    Neighbors, one message per peer; the backward pass sends the same bytes the other way.
    """
    check_field(x, domain)
    plan = window_plan(domain, domain_out, reaches, boundary)
    if plan.is_identity:
        return x.clone() if copy else x
    return window(plan, x, fill=fill)[0]


def check_field(
    x: Tensor, space: Space, channels: int | None = None, layer: str = "", like: Tensor | None = None, mixed: bool = False
) -> None:
    """Refuse a tensor that is not this rank's part of a field, or one of other channels or numbers than a layer takes.

    Parameters
    ----------
    x : Tensor
        The field.
    space : Space
        Where it lives.
    channels : int, optional
        As many as the layer takes; any by default.
    layer : str
        Name of what computes with the field, which needs real floating-point numbers; whoever only moves cells takes any and has none.
    like : Tensor, optional
        A parameter, whose dtype the field must have; under autocast all but float64 go together.
    mixed : bool
        Whether fields of 16 bits and parameters of 32 go together at any time.

    Raises
    ------
    ShapeError
        With what was expected. Where it is raised on one rank of several and nobody catches it, the job ends at once.

    Communication
    -------------
    Local: what all ranks would have to agree on is looked at in every layer.
    """
    if (x.shape[2:] if space.channel_dim == 1 else space.points_in(x.shape)) != space.local_shape:
        _refuse(
            space,
            f"rank {space.comm.rank} of {space.comm.size} expected its block {space.form} of a field of {space.global_shape}, got "
            f"{tuple(x.shape)}: deal a whole field with domain.scatter or index it with space.index, or build the layer with its space",
        )
    if channels is not None and x.shape[space.channel_dim] != channels:
        _refuse(
            space,
            f"{layer} expected {channels} channels, got {x.shape[space.channel_dim]} in a field {space.form} of {tuple(x.shape)}: "
            "build the layer for as many, or choose the channels",
        )
    if layer and not (x.is_floating_point() if like is None else x.dtype == like.dtype or _go_together(x, like, mixed)):
        _refuse(space, _of_other_numbers(x.dtype, layer, like))


def _go_together(x: Tensor, like: Tensor, mixed: bool) -> bool:
    return x.dtype in AT_MOST_32 and like.dtype in AT_MOST_32 and (mixed or is_autocast(x.device))


def _of_other_numbers(got: torch.dtype, layer: str, like: Tensor | None) -> str:
    """What is wrong with a field of a dtype that a layer does not take; torch would cut some and refuse others in words of its own."""
    expected = "real floating-point numbers" if like is None else f"{str(like.dtype)[6:]} as its parameters are"
    remedy = f"convert the field, x.to({torch.get_default_dtype() if like is None else like.dtype})"
    if got.is_complex:
        remedy = "give the real and the imaginary part as two channels"
    elif like is not None and got.is_floating_point:
        remedy += f", or the model, model.to({got})"
    return f"{layer} expected a field of {expected}, got {str(got)[6:]}: {remedy}"


def _refuse(space: Space, why: str) -> None:
    if space.comm.size > 1:
        end_where_uncaught()
    raise ShapeError(why)


def check_num_dims(layer: str, space: Space, num_dims: int) -> None:
    """Refuse a space of another number of dims than the layer works on."""
    if space.num_dims != num_dims:
        raise ShapeError(
            f"{layer} works on fields of {num_dims} dims, got a domain of {space.global_shape}: use the layer of {space.num_dims} dims"
        )


def output_domain(layer: str, domain: Domain, shape: Sequence[int]) -> Domain:
    """Domain of a layer's output, refused by name where there is no output."""
    if min(shape) < 1:
        raise ShapeError(f"{layer} leaves no output of a field of {domain.global_shape}: it would be {tuple(shape)}; use a smaller kernel")
    return domain.with_shape(shape)
