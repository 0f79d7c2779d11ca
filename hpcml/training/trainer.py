"""Training: pass after pass over the pairs, on ranks that share fields and groups of ranks that share batches.

Every rank holds all parameters. The loss of an update is that of the whole batch on the whole grid, and the layers give every rank the
whole gradient, so all ranks take the same step.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from hpcml.core.case import Training
from hpcml.core.errors import TrainingError
from hpcml.fields.domain import Domain
from hpcml.io.checkpoint import Checkpointer
from hpcml.parallel.exchange import traffic
from hpcml.training.dataset import Batch, Samples, Schedule
from hpcml.training.metrics import MetricsWriter
from hpcml.training.optimiser import build_optimiser, rate_factor
from hpcml.training.progress import progress

Loss = Callable[[Domain, Tensor, Tensor], Tensor]


@dataclass(slots=True)
class Position:
    """Where training stands: ``update`` of ``epoch`` comes next."""

    epoch: int = 0
    update: int = 0


@dataclass(slots=True)
class _Sums:
    """Of one epoch."""

    loss: float = 0.0
    gradient_norm: float = 0.0
    updates: int = 0
    start: float = field(default_factory=time.monotonic)


class Trainer:
    """Trains a model on pairs.

    Parameters
    ----------
    model : Module
        Maps (batch, channel, *local) to (batch, channel, *local); built from hpcml's layers.
    train, valid : Samples
        What it learns from and what only measures it; ``valid`` may be empty.
    spec : Training
        Epochs, batch and the rest.
    loss : callable
        ``loss(domain, prediction, target)``: of the whole batch, the same on every rank.
    checkpointer : Checkpointer
        Gets everything that the next update depends on.
    metrics : MetricsWriter, optional
        On the rank that writes them.

    Communication
    -------------
    Collective over domain.world_comm.
    """

    def __init__(
        self,
        model: nn.Module,
        train: Samples,
        valid: Samples,
        spec: Training,
        loss: Loss,
        checkpointer: Checkpointer,
        metrics: MetricsWriter | None = None,
    ) -> None:
        self.model, self.spec, self.loss, self.metrics = model, spec, loss, metrics
        self.train, self.valid = train, valid
        self.domain = train.domain
        self.optimiser = build_optimiser(model, spec)
        groups = self.domain.num_data, self.domain.data_index
        self.schedule = Schedule(train.num_samples, spec.batch_size, spec.accumulate, *groups, spec.seed)
        self.position = Position()
        self.checkpointer = checkpointer
        checkpointer.register("model", model.state_dict, model.load_state_dict)
        checkpointer.register("optimiser", self.optimiser.state_dict, self.optimiser.load_state_dict)
        checkpointer.register("position", lambda: {"epoch": self.position.epoch, "update": self.position.update}, self._go_to)

    @property
    def step(self) -> int:
        """Updates done since training began."""
        return self.position.epoch * self.schedule.num_updates + self.position.update

    def fit(self) -> float:
        """Train to the last epoch, from wherever the state stands.

        Returns
        -------
        float
            Loss on ``valid`` after the last epoch, or of the last epoch where there is none.

        Raises
        ------
        TrainingError
            On every rank, if the loss or the gradient is no longer finite.
        """
        total, last = self.spec.epochs * self.schedule.num_updates, math.nan
        with progress("update", total, shown=self.domain.world_comm.rank == 0, first=self.step) as bar:
            while self.position.epoch < self.spec.epochs:
                sums = _Sums()
                for parts in self.train.ahead(self.schedule.updates(self.position.epoch, self.position.update)):
                    self._update(parts, sums)
                    bar.advance(self.step, f"epoch {self.position.epoch + 1}  loss {sums.loss / sums.updates:.4g}")
                self.position = Position(self.position.epoch + 1)
                last = self._finish_epoch(sums)
        self.checkpointer.wait()
        return last

    def evaluate(self, pairs: Samples) -> float:
        """Mean loss over pairs, each group of ranks taking its share; NaN if there are none."""
        if pairs.num_samples == 0:
            return math.nan
        whole = Schedule(pairs.num_samples, min(self.spec.batch_size, pairs.num_samples), 1, 1, 0, self.spec.seed)
        total = 0.0
        self.model.eval()
        with torch.no_grad():
            for (batch,) in whole.updates(0):
                x, y = pairs.take(batch.samples)
                total += float(self.loss(self.domain, self.model(x), y)) * len(batch.samples)
        self.model.train()
        return total / pairs.num_samples

    def _update(self, parts: list[Batch], sums: _Sums) -> None:
        epoch = self.position.epoch + self.position.update / self.schedule.num_updates
        for group in self.optimiser.param_groups:
            group["lr"] = self.spec.learning_rate * rate_factor(self.spec, epoch)
        self.optimiser.zero_grad(set_to_none=True)
        loss = 0.0
        for batch in parts:
            x, y = self.train.take(batch.samples)
            part = self.loss(self.domain, self.model(x), y) * batch.weight
            part.backward()
            loss += float(part.detach())
        norm = self._clip()
        # Loss and gradients are the same on every rank, so all ranks stop here together.
        if not math.isfinite(loss) or not math.isfinite(norm):
            self._stop(loss, norm)
        self.checkpointer.before_update()
        self.optimiser.step()
        self.position.update += 1
        sums.loss, sums.gradient_norm, sums.updates = sums.loss + loss, sums.gradient_norm + norm, sums.updates + 1

    def _clip(self) -> float:
        bound = math.inf if self.spec.clip is None else self.spec.clip
        return float(nn.utils.clip_grad_norm_(self.model.parameters(), bound))

    def _stop(self, loss: float, norm: float) -> None:
        self.checkpointer.wait()
        latest = self.checkpointer.latest()
        good = (
            "no checkpoint was written yet"
            if latest is None
            else f"the last good checkpoint is that of step {latest} in {self.checkpointer.folder}"
        )
        raise TrainingError(
            f"training diverged at step {self.step}: loss {loss}, gradient norm {norm}; {good}. "
            "Lower training.learning_rate, set training.clip, or look for NaN in the data"
        )

    def _finish_epoch(self, sums: _Sums) -> float:
        epoch = self.position.epoch
        valid = self.evaluate(self.valid)
        if epoch % self.spec.checkpoint_every == 0 or epoch == self.spec.epochs:
            self.checkpointer.save(self.step)
        if self.metrics is not None:
            seconds = time.monotonic() - sums.start
            self.metrics.write(
                epoch,
                step=self.step,
                train_loss=sums.loss / max(sums.updates, 1),
                valid_loss=valid,
                learning_rate=self.optimiser.param_groups[0]["lr"],
                gradient_norm=sums.gradient_norm / max(sums.updates, 1),
                seconds=seconds,
                bytes_sent=traffic.bytes,
            )
        return sums.loss / max(sums.updates, 1) if math.isnan(valid) else valid

    def _go_to(self, saved: dict[str, int]) -> None:
        self.position = Position(saved["epoch"], saved["update"])
