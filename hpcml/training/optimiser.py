"""The optimiser of a case."""

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import nn

from hpcml.core.config import Count, NonNegative, Positive
from hpcml.core.errors import ConfigError
from hpcml.core.options import Choice
from hpcml.core.registry import load
from hpcml.training.compiler_import import without_compiler

FUSED = ("cpu", "cuda")


def adamw(
    params: Iterable[nn.Parameter],
    lr: float,
    weight_decay: NonNegative = 0.0,
    betas: tuple[NonNegative, NonNegative] = (0.9, 0.999),
    eps: Positive = 1e-8,
) -> torch.optim.AdamW:
    """Steps of the gradient's mean over the root of its square's, one pass over memory for each real parameter.

    Parameters
    ----------
    params : iterable of Parameter
        What it changes; torch has no such pass for complex ones, which take several.
    lr : float
        Learning rate.
    weight_decay : float
        Decoupled from the gradient.
    betas : tuple of float
        What is kept of either mean at every update.
    eps : float
        Added to the root.

    References
    ----------
    I. Loshchilov and F. Hutter, Decoupled weight decay regularization, ICLR 2019.
    """
    kinds: dict[bool, list[nn.Parameter]] = {}
    for parameter in params:
        kinds.setdefault(parameter.is_floating_point(), []).append(parameter)
    groups = [{"params": parameters, "fused": real and parameters[0].device.type in FUSED} for real, parameters in kinds.items()]
    return without_compiler(torch.optim.AdamW)(groups, lr=lr, weight_decay=weight_decay, betas=betas, eps=eps)


def lbfgs(
    params: Iterable[nn.Parameter],
    lr: float,
    max_iter: Count = 20,
    max_eval: Count | None = None,
    tolerance_grad: NonNegative = 1e-7,
    tolerance_change: NonNegative = 1e-9,
    history_size: Count = 100,
    line_search_fn: Literal["strong_wolfe"] | None = None,
) -> torch.optim.LBFGS:
    """Steps of a quasi-Newton method that looks at the loss at several points within one update.

    Parameters
    ----------
    params : iterable of Parameter
        What it changes.
    lr : float
        Learning rate: the length of a step, of the first one where a line is searched.
    max_iter, max_eval : int
        Most iterations, and most evaluations of the loss, of an update; of these by default five for every four iterations.
    tolerance_grad, tolerance_change : float
        Largest entry of the gradient, and change of loss or parameters, at which an update ends.
    history_size : int
        Iterations that are remembered.
    line_search_fn : str
        ``strong_wolfe``, or nothing for steps of a fixed length.
    """
    return without_compiler(torch.optim.LBFGS)(
        list(params),
        lr=lr,
        max_iter=max_iter,
        max_eval=max_eval,
        tolerance_grad=tolerance_grad,
        tolerance_change=tolerance_change,
        history_size=history_size,
        line_search_fn=line_search_fn,
    )


def lay_out(optimiser: torch.optim.Optimizer) -> None:
    """Have the matrices that an optimiser keeps lie row by row, as they do after a restart.

    A factorisation may leave them column by column, and products of the same numbers in another order of memory differ in their last bits.

    Communication
    -------------
    Local.
    """

    def in_rows(value: Any, parameter: Any) -> Any:
        if isinstance(value, list):
            return [in_rows(element, parameter) for element in value]
        if isinstance(value, torch.Tensor) and not value.is_contiguous() and value.shape != parameter.shape:
            return value.contiguous()
        return value

    for parameter, state in optimiser.state.items():
        for key, value in state.items():
            state[key] = in_rows(value, parameter)


def build_optimiser(model: nn.Module, choice: Choice, learning_rate: float) -> torch.optim.Optimizer:
    """Optimiser of everything in a model that asks for a gradient.

    Parameters
    ----------
    model : Module
        Whose parameters it changes; those with ``requires_grad = False`` stay as they are.
    choice : Choice
        Name and options: `adamw`, `lbfgs`, any class of `torch.optim`, or one's own with parameters ``params`` and ``lr``.
    learning_rate : float
        Of the first update.

    Raises
    ------
    ConfigError
        If what is named is no optimiser, or refuses its options.

    Communication
    -------------
    Local.
    """
    kind: Any = load("optimiser", choice.name)
    if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and kind.__module__.startswith("torch.optim."):
        kind = without_compiler(kind)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        optimiser = kind(params=learning, lr=learning_rate, **choice.options)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"training.optimiser = {choice.name!r}: {error}") from error
    if not isinstance(optimiser, torch.optim.Optimizer):
        raise ConfigError(f"training.optimiser = {choice.name!r} makes {type(optimiser).__name__}, which is no torch.optim.Optimizer")
    return optimiser
