"""One update of a model: gradient of a batch, and the optimiser's step."""

import inspect
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from hpcml.core.errors import ConfigError
from hpcml.core.training_table import Training
from hpcml.data.samples import Samples
from hpcml.data.stream import Part, Stream, Taken
from hpcml.models.on_spaces import on_space
from hpcml.models.replicas import check_same_bits
from hpcml.parallel.samples_before import samples_before
from hpcml.training.group_sum import GroupSum
from hpcml.training.loss import Loss
from hpcml.training.noise import Noise
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
    data : Samples or Stream
        What it learns from.
    spec : Training
        Table of a case that says how.

    Raises
    ------
    ConfigError
        For a model without the same bits on any number of ranks on a space that is to have them; an optimiser that looks at several points,
        and a scaled loss; at an update, for targets of another number of steps.

    Communication
    -------------
    That of model and loss, which give every rank the whole gradient.
    """

    def __init__(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        loss: Loss,
        data: Samples | Stream,
        spec: Training,
    ) -> None:
        check_same_bits(model, data.space)
        self.steps, self.push_forward, self._number = spec.steps, spec.push_forward, 0
        self._noise = Noise(spec.noise, spec.noise_in_targets, spec.seed) if spec.noise else None
        scaled = spec.precision == "float16"
        self.model, self.optimiser, self.loss, self.space = model, optimiser, loss, data.space
        self._groups = GroupSum(data.world_comm, data.space)
        self.bound = math.inf if spec.clip is None else spec.clip
        self.scaler = torch.amp.GradScaler(self.space.device.type, enabled=scaled)
        closure = inspect.signature(optimiser.step).parameters.get("closure")
        self._several = closure is not None and closure.default is closure.empty
        if self._several and scaled:
            raise ConfigError(f"{type(optimiser).__name__} computes an update several times, which float16's scaling cannot follow")

    def gradient(self, parts: Iterable[Part], number: int = 0) -> Tensor:
        """Leave the gradient of an update, by number, in the parameters, clipped; give loss and norm, float64, (2,), not waited for."""
        self.optimiser.zero_grad(set_to_none=True)
        self._number = number
        losses, done = [], 0
        with self._groups.agreed():
            for part in parts:
                x, y, weight = part
                there = y.shape[1] if y.dim() > x.dim() else 1
                if there != self.steps:
                    raise ConfigError(f"training.steps = {self.steps}, and each target holds {there}: give both the same number of steps")
                space = part.space if isinstance(part, Taken) else self.space
                model = on_space(self.model, space)
                if self._noise is not None:
                    before, every = (0, 0) if isinstance(part, Taken) else samples_before(space, len(x))
                    numbers = part.numbers if isinstance(part, Taken) else range(done + before, done + before + len(x))
                    x, y = self._noise(space, model, x, y, number, numbers)
                    done += every
                for term in step_losses(model, self.loss, space, x, y, self.push_forward):
                    share = term * weight
                    self.scaler.scale(share).backward()
                    losses.append(share.detach())
        for p in self.model.parameters():
            if p.requires_grad and p.grad is None:  # what the loss does not reach: sums over ranks make zeros of it, so one rank does
                p.grad = torch.zeros_like(p)
        loss = self._groups.sum(self.model, sum(losses[1:], start=losses[0]))
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.bound)
        return torch.stack([loss, norm.to(loss.dtype)])

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
            return known.pop() if known else float(self.gradient(parts, self._number)[0])

        self.optimiser.step(closure)
