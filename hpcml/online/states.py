"""The states of one simulation, whoever makes them, in one form."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpcml.core.errors import ShapeError, SolverError


def states_of(made: Any, channels: int, local_shape: tuple[int, ...], steps: int, dtype: torch.dtype) -> Iterator[Tensor]:
    """States of a simulation, checked one by one.

    Parameters
    ----------
    made : iterable or object with a method ``step``
        Gives states: arrays or tensors (channel, *local_shape), or (*local_shape) where there is one channel. ``step()`` gives the next.
    channels : int
        Of a state.
    local_shape : tuple of int
        Of this rank's block.
    steps : int
        States to be taken; what comes after them is not asked for.
    dtype : torch.dtype
        Of the states that are given on.

    Yields
    ------
    Tensor
        (channel, *local_shape), on the host. It may share memory with what was made until the next is asked for.

    Raises
    ------
    ShapeError
        For a state of another shape.
    SolverError
        If there are fewer.

    Communication
    -------------
    That of the simulation.
    """
    source = iter(made) if isinstance(made, Iterable) else _stepping(made)
    shape = (channels, *local_shape)
    for step in range(steps):
        try:
            found = next(source)
        except StopIteration:
            raise SolverError(f"it ended after {step} of data.steps = {steps} states") from None
        state = found if isinstance(found, Tensor) else torch.as_tensor(np.ascontiguousarray(found))
        if channels == 1 and tuple(state.shape) == local_shape:
            state = state.unsqueeze(0)
        if tuple(state.shape) != shape or state.is_complex():
            raise ShapeError(f"state {step} has the shape {tuple(state.shape)} and {state.dtype}; expected {shape} of real numbers")
        yield state.detach().to("cpu", dtype)


def _stepping(made: Any) -> Iterator[Any]:
    if not callable(getattr(made, "step", None)):
        raise ShapeError(f"it gave {type(made).__name__}, which is neither an iterator of states nor an object with a method step")
    while True:
        yield made.step()
