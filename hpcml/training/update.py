"""One update of a model: gradient of a batch, and the optimiser's step."""

import inspect
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from hpcml.core.errors import ConfigError
from hpcml.data.stream import Part
from hpcml.parallel.space import Space
from hpcml.training.loss import Loss
from hpcml.training.optimiser import lay_out
from hpcml.training.step_losses import step_losses


class Update:
    """Computes updates.

    Parameters
    ----------
    model : Module
        Whose parameters change.
    optimiser : torch.optim.Optimizer
        How.
    loss : callable
        ``loss(space, prediction, target)``.
    space : Space
        Where fields live.
    clip : float, optional
        Largest norm of the whole gradient.
    scaled : bool
        Whether the loss is scaled so that gradients stay within float16.
    steps : int
        Of the model, that targets are there for.
    push_forward : bool
        As in `step_losses`.

    Raises
    ------
    ConfigError
        For an optimiser that looks at several points, and a scaled loss; at an update, for targets of another number of steps.

    Communication
    -------------
    That of model and loss, which give every rank the whole gradient.
    """

    def __init__(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        loss: Loss,
        space: Space,
        clip: float | None,
        scaled: bool,
        steps: int = 1,
        push_forward: bool = False,
    ) -> None:
        self.steps, self.push_forward = steps, push_forward
        self.model, self.optimiser, self.loss, self.space = model, optimiser, loss, space
        self.bound = math.inf if clip is None else clip
        self.scaler = torch.amp.GradScaler(space.device.type, enabled=scaled)
        closure = inspect.signature(optimiser.step).parameters.get("closure")
        self._several = closure is not None and closure.default is closure.empty
        if self._several and scaled:
            raise ConfigError(f"{type(optimiser).__name__} computes an update several times, which float16's scaling cannot follow")

    def gradient(self, parts: Iterable[Part]) -> Tensor:
        """Leave the gradient of an update in the parameters, clipped; give loss and norm, float64, (2,), which are not waited for."""
        self.optimiser.zero_grad(set_to_none=True)
        losses = []
        for x, y, weight in parts:
            there = y.shape[1] if y.dim() > x.dim() else 1
            if there != self.steps:
                raise ConfigError(f"training.steps = {self.steps}, and each target holds {there}: give both the same number of steps")
            for term in step_losses(self.model, self.loss, self.space, x, y, self.push_forward):
                part = term * weight
                self.scaler.scale(part).backward()
                losses.append(part.detach())
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.bound)
        return torch.stack([sum(losses[1:], start=losses[0]), norm.to(losses[0].dtype)])

    def is_bearable(self, norm: float) -> bool:
        """Whether the gradient is finite, or only left float16: then this update is left out, and the next ones are scaled less."""
        return math.isfinite(norm) or (self.scaler.is_enabled() and self.scaler.get_scale() > 1)

    def step(self, parts: Iterable[Part], loss: float) -> None:
        """Change the parameters; an optimiser that looks at several points, as L-BFGS does, begins with the one that is there."""
        if not self._several:
            self.scaler.step(self.optimiser)
            self.scaler.update()
            lay_out(self.optimiser)
            return
        known = [loss]

        def closure() -> float:
            return known.pop() if known else float(self.gradient(parts)[0])

        self.optimiser.step(closure)
