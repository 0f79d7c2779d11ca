"""A model, its arguments, and what comes of them."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Trial:
    """One run of a model, forward and backward.

    Parameters
    ----------
    model : Module
        Changed by the run: hand over a copy.
    arguments : sequence
        Of the model. Floating point tensors are copied and differentiated.
    dtype : torch.dtype, optional
        Precision of parameters, buffers and arguments, complex ones alike; None leaves them as they are.

    Attributes
    ----------
    outputs : dict of str to Tensor
        After `forward`: every tensor in what the model returns, by its place there.
    """

    def __init__(self, model: nn.Module, arguments: Sequence[Any], dtype: torch.dtype | None) -> None:
        self.model = model._apply(lambda t: _to(t, dtype))
        self.arguments = [_leaf(_to(a, dtype)) if isinstance(a, Tensor) else a for a in arguments]
        self.outputs: dict[str, Tensor] = {}
        model.zero_grad()

    def forward(self) -> None:
        """Run the model."""
        self.outputs = dict(_tensors("output", self.model(*self.arguments)))

    def backward(self, cotangents: dict[str, Tensor]) -> None:
        """Differentiate the inner product of outputs and cotangents."""
        names = [name for name, y in self.outputs.items() if y.requires_grad]
        if names:
            torch.autograd.backward([self.outputs[name] for name in names], [cotangents[name] for name in names])

    def parameter_gradients(self) -> dict[str, Tensor | None]:
        """Gradient of every parameter that asks for one, by name."""
        return {name: p.grad for name, p in self.model.named_parameters() if p.requires_grad}

    def input_gradients(self) -> list[Tensor | None]:
        """Gradient of every argument; None for one that has none."""
        return [a.grad if isinstance(a, Tensor) else None for a in self.arguments]


def _to(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    if dtype is None or not (tensor.is_floating_point() or tensor.is_complex()):
        return tensor
    return tensor.to(dtype.to_complex() if tensor.is_complex() else dtype)


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_(tensor.is_floating_point() or tensor.is_complex())


def _tensors(place: str, result: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(result, Tensor):
        yield place, result
    elif isinstance(result, list | tuple):
        for k, part in enumerate(result):
            yield from _tensors(f"{place}[{k}]", part)
    elif isinstance(result, dict):
        for key, part in result.items():
            yield from _tensors(f"{place}[{key!r}]", part)
