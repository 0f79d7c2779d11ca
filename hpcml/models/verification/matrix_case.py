"""One operator with one setting, and its comparison with torch on a process grid."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from mpi4py import MPI
from torch import Tensor, nn

from hpcml.core.errors import HpcmlError
from hpcml.fields.decompose import decompose
from hpcml.fields.domain import Domain
from hpcml.fields.grid import Grid
from hpcml.models import layers
from hpcml.models.verification.comparison import largest_difference
from hpcml.models.verification.trial import Trial
from hpcml.mpi.agreement import agree

BATCH = 2
Shape = tuple[int, ...]
SHAPES: dict[int, Shape] = {1: (23,), 2: (19, 18), 3: (13, 12, 13)}
"""Odd and even numbers of cells: uneven blocks on any process grid of up to 6 ranks, and outputs for every rank at strides up to 3."""
THIN: dict[int, Shape] = {1: (7,), 2: (7, 6), 3: (6, 7, 6)}
"""Blocks of few cells: narrower than the halo of a large kernel."""


@dataclass(frozen=True, slots=True)
class MatrixCase:
    """An operator, its setting, and what it must be equal to.

    Attributes
    ----------
    operator : str
        Name of the layer.
    setting : str
        Its arguments, for people.
    shape : tuple of int
        Global cells.
    channels : int
        Of the input.
    make : callable
        From a domain to the layer.
    reference : callable
        To a module that acts on the whole field, with the same parameters and buffers.
    complex : bool
        Whether the input is.
    """

    operator: str
    setting: str
    shape: Shape
    channels: int
    make: Callable[[Domain], nn.Module]
    reference: Callable[[], nn.Module]
    complex: bool = False

    def __str__(self) -> str:
        return f"{self.operator}({self.setting}) on {self.shape}"


def like_torch(operator: str, shape: Shape, channels: int, *args: Any, **kwargs: Any) -> MatrixCase:
    """Case of a layer that has torch's name and arguments."""
    setting = ", ".join([*map(str, args), *(f"{key}={value!r}" for key, value in kwargs.items())])
    ours, theirs = getattr(layers, operator), getattr(nn, operator)
    return MatrixCase(operator, setting, shape, channels, lambda domain: ours(domain, *args, **kwargs), lambda: theirs(*args, **kwargs))


class Function(nn.Module):
    """A function of the whole field as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Reference:
    """What torch computes on the whole field: run once, compared with on every process grid."""

    def __init__(self, case: MatrixCase, dtype: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(zlib.crc32(str(case).encode()))

        def normal(shape: torch.Size | Shape, like: torch.dtype) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.complex128 if like.is_complex else torch.float64).to(like)

        module = case.reference()
        with torch.no_grad():
            for p in module.parameters():
                p.copy_(normal(p.shape, p.dtype))
        self.state = {name: value.clone() for name, value in module.state_dict().items()}
        field_dtype = dtype.to_complex() if case.complex else dtype
        self.x = normal((BATCH, case.channels, *case.shape), field_dtype)
        self.trial = Trial(module, [self.x], dtype)
        self.trial.forward()
        y = self.trial.outputs["output"]
        self.cotangent = 1 + normal(y.shape, y.dtype)  # with a mean, or sums over cells such as the gradient of a bias cancel
        self.trial.backward({"output": self.cotangent})


def compare_case(
    case: MatrixCase, reference: Reference, dtype: torch.dtype, comm: MPI.Intracomm, dims: Shape
) -> dict[str, float] | HpcmlError:
    """Errors of this rank's part of a case on one process grid, by quantity; or the error that refuses it at construction.

    Communication
    -------------
    Collective over comm: that of the layer.
    """
    with decompose(Grid(case.shape), comm, dims, device="cpu") as domain:
        try:
            layer = case.make(domain)
        except HpcmlError as error:
            return error
        layer.load_state_dict(reference.state)
        trial = Trial(layer, [reference.x[domain.index]], dtype)
        domain_out = getattr(layer, "domain_out", domain)
        assert isinstance(domain_out, Domain)
        try:
            trial.forward()
            y, whole = trial.outputs["output"], reference.trial.outputs["output"]
            fits = domain_out.global_shape == tuple(whole.shape[2:]) and y.shape == whole[domain_out.index].shape
            if not agree(fits, comm):
                return {"output": torch.inf}
            trial.backward({"output": reference.cotangent[domain_out.index]})
        except Exception as error:
            error.add_note(f"in {case} {dtype} on a process grid {dims}")
            raise
        return {"output": relative_error(y, whole, domain_out.index)} | _gradients(trial, reference.trial, domain)


def _gradients(trial: Trial, whole: Trial, domain: Domain) -> dict[str, float]:
    """Errors of gradients and buffers."""
    errors = {"gradient of the input": relative_error(trial.input_gradients()[0], whole.input_gradients()[0], domain.index)}
    gradients, buffers = whole.parameter_gradients(), dict(whole.model.named_buffers())
    errors |= {f"gradient of {name}": relative_error(g, gradients[name], ...) for name, g in trial.parameter_gradients().items()}
    return errors | {f"buffer {name}": relative_error(b, buffers[name], ...) for name, b in trial.model.named_buffers()}


def relative_error(got: Tensor | None, whole: Tensor | None, where: Any) -> float:
    """Largest difference from a part of the whole over the largest entry of the whole; infinite where one is absent."""
    difference, _, _ = largest_difference(got, None if whole is None else whole[where])
    return difference if whole is None else difference / (float(whole.detach().abs().max()) or 1.0)
