"""Running mean of the parameters that a model learns."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class Average:
    """Exponential moving average of parameters, which are less noisy than those of any one update.

        a <- b a + (1 - b) p        b = min(decay, (1 + n) / (10 + n))        after n updates; a = p after the first

    Parameters
    ----------
    model : Module
        Those of its parameters count that ask for a gradient now.
    decay : float
        What is kept of the mean at every update, once there were many.

    Communication
    -------------
    Local: ranks that hold the same parameters hold the same mean.

    References
    ----------
    B. Polyak and A. Juditsky, SIAM J. Control Optim. 30 (1992), on averages of a descent; the smaller b of the first updates, so that the
    initial values are soon forgotten, is that of TensorFlow's ExponentialMovingAverage.

    Examples
    --------
    >>> model = nn.Linear(1, 1, bias=False)
    >>> average = Average(model, 0.999)
    >>> for value in (1.0, 2.0):
    ...     _ = model.weight.data.fill_(value)
    ...     average.update()
    >>> with average.in_place():
    ...     print(round(float(model.weight), 4))
    1.8182
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay, self._updates = decay, 0
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._values = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Count the parameters as they are now."""
        keep = min(self._decay, (1 + self._updates) / (10 + self._updates)) if self._updates else 0.0
        torch._foreach_lerp_(list(self._values.values()), list(self._parameters.values()), 1 - keep)
        self._updates += 1

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model have the mean for a block of statements; nothing is copied."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state_dict(self) -> dict[str, Any]:
        """The mean, by names of parameters, and how many updates there were."""
        return {"updates": self._updates, "values": dict(self._values)}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._updates = int(state["updates"])
        for name, value in self._values.items():
            value.copy_(state["values"][name])

    def _swap(self) -> None:
        for name, parameter in self._parameters.items():
            parameter.data, self._values[name] = self._values[name], parameter.data
