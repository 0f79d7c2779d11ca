"""Training: pass after pass over the pairs, on ranks that share fields and groups of ranks that share batches.

Every rank holds all parameters. The loss of an update is that of the whole batch on the whole grid, and the layers give every rank the
whole gradient, so all ranks take the same step.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hpcml.core.case import Training
from hpcml.core.errors import CheckpointError, TrainingError
from hpcml.core.options import build_function
from hpcml.fields.domain import Domain
from hpcml.io.checkpoint import Checkpointer, Rows, SaveInterval
from hpcml.io.files.remedy import lacks_room
from hpcml.models.replicas import check_gradients, check_parameters
from hpcml.mpi import StopSignal
from hpcml.mpi.reductions import all_min
from hpcml.parallel.exchange import traffic
from hpcml.training.dataset import Batch, Samples, Schedule
from hpcml.training.metrics import MetricsWriter
from hpcml.training.optimiser import build_optimiser
from hpcml.training.progress import Progress, progress

_log = logging.getLogger(__name__)
_TELL_SECONDS = 60.0
"""Least time between two complaints about a full disk."""
Loss = Callable[[Domain, Tensor, Tensor], Tensor]

COMPARE_EVERY = 100
"""Updates from one comparison of the ranks' parameters to the next: a checksum costs a hundredth of an update or less."""


@dataclass(slots=True)
class Position:
    """Where training stands: ``update`` of ``epoch`` comes next; of the epoch so far the sums over its updates and the time it took."""

    epoch: int = 0
    update: int = 0
    loss: float = 0.0
    gradient_norm: float = 0.0
    seconds: float = 0.0


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
        Gets everything that the next update depends on, every few updates; it may be lazy.
    stop : StopSignal
        Says when to save and return before the end.
    metrics : MetricsWriter, optional
        On the rank that writes them.

    Attributes
    ----------
    position : Position
        Where training stands.
    stopped : bool
        Whether `fit` returned because it was asked to stop.

    Communication
    -------------
    Collective over domain.world_comm; after each update one number to agree on whether to stop.
    """

    def __init__(
        self,
        model: nn.Module,
        train: Samples,
        valid: Samples,
        spec: Training,
        loss: Loss,
        checkpointer: Checkpointer,
        stop: StopSignal,
        metrics: MetricsWriter | None = None,
    ) -> None:
        self.model, self.spec, self.loss, self.metrics = model, spec, loss, metrics
        self.train, self.valid = train, valid
        self.domain = train.domain
        self.optimiser = build_optimiser(model, spec.optimiser, spec.learning_rate)
        self._rate = build_function("schedule", spec.schedule)
        groups = self.domain.num_data, self.domain.data_index
        self.schedule = Schedule(train.num_samples, spec.batch_size, spec.accumulate, *groups, spec.seed)
        self.position, self.stopped, self._compared = Position(), False, False
        self._told = -_TELL_SECONDS
        self.checkpointer, self._stop = checkpointer, stop
        self._interval = SaveInterval(checkpointer, self.domain.world_comm, spec.checkpoint_share)
        self.scaler = torch.amp.GradScaler(self.domain.device.type, enabled=spec.precision == "float16")
        checkpointer.register("model", self._model_state, model.load_state_dict)
        checkpointer.register("optimiser", self.optimiser.state_dict, self.optimiser.load_state_dict)
        checkpointer.register("position", lambda: asdict(self.position), self._go_to)
        if self.scaler.is_enabled():
            checkpointer.register("scale", self.scaler.state_dict, self.scaler.load_state_dict, required=False)
        checkpointer.register("random", lambda: Rows(torch.get_rng_state()[None]), _set_random)

    @property
    def step(self) -> int:
        """Updates done since training began."""
        return self.position.epoch * self.schedule.num_updates + self.position.update

    def fit(self) -> float:
        """Train to the last epoch, from wherever the state stands, or until asked to stop: then `stopped` is true.

        Returns
        -------
        float
            Loss on ``valid`` after the last epoch, or of the last epoch where there is none; NaN if no epoch was completed.

        Raises
        ------
        TrainingError
            On every rank, if the loss or the gradient is no longer finite.
        """
        total, last = self.spec.epochs * self.schedule.num_updates, math.nan
        if self.checkpointer.latest() != self.step:  # a start, or a restart from memory, of the end too
            self.checkpointer.save(self.step)
            self.checkpointer.wait()  # what cannot be written is told now
        elif self.position.epoch < self.spec.epochs:
            self.checkpointer.prepare()
        if self.position.epoch == self.spec.epochs:
            return last
        with progress("update", total, shown=self.domain.world_comm.rank == 0, first=self.step) as bar:
            while not self.stopped and self.position.epoch < self.spec.epochs:
                self._interval.resume()
                self._updates(bar)
                if not self.stopped:
                    last = self._finish_epoch()
        self._save_last()
        return last

    def evaluate(self, pairs: Samples) -> float:
        """Mean loss over pairs, all of which every group of ranks goes through; NaN if there are none."""
        if pairs.num_samples == 0:
            return math.nan
        whole = Schedule(pairs.num_samples, min(self.spec.batch_size, pairs.num_samples), 1, 1, 0, self.spec.seed)
        total: Tensor | float = 0.0
        self.model.eval()
        with torch.no_grad():
            for (batch,) in whole.updates(0):
                x, y = pairs.take(batch.samples)
                total = total + self.loss(self.domain, self.model(x), y) * len(batch.samples)
        self.model.train()
        return float(total) / pairs.num_samples

    def _updates(self, bar: Progress) -> None:
        """What is left of an epoch, unless asked to stop."""
        at, last = self.position, time.monotonic()
        for parts in self.train.ahead(self.schedule.updates(at.epoch, at.update)):
            self._update(parts)
            now = time.monotonic()
            at.seconds, last = at.seconds + now - last, now
            bar.advance(self.step, f"epoch {at.epoch + 1}  loss {at.loss / at.update:.4g}")
            if self._stop.agreed():
                self.stopped = True
                return
            self._save_if_due()

    def _save_if_due(self) -> None:
        """Save if it is time to. A disk that has no room does not end the run: a later save may find some, and this is said."""
        try:
            self._interval.after_step(self.step)
        except CheckpointError as error:
            if not lacks_room(str(error)):
                raise
            if self.domain.world_comm.rank == 0 and time.monotonic() - self._told > _TELL_SECONDS:
                _log.warning("%s; training goes on, and what it learns is saved once there is room", error)
                self._told = time.monotonic()

    def _save_last(self) -> None:
        """Save the end; what an earlier save could not write is no reason not to try."""
        try:
            self.checkpointer.save(self.step)
            self.checkpointer.wait()
        except CheckpointError as error:
            if not lacks_room(str(error)):
                raise
            self.checkpointer.save(self.step)
            self.checkpointer.wait()

    def _update(self, parts: list[Batch]) -> None:
        epoch = self.position.epoch + self.position.update / self.schedule.num_updates
        for group in self.optimiser.param_groups:
            group["lr"] = self.spec.learning_rate * self._rate(epoch / self.spec.epochs)
        self.optimiser.zero_grad(set_to_none=True)
        first, self._compared = not self._compared, True
        if self.step % COMPARE_EVERY == 0 or first:
            check_parameters(self.model, self.domain.world_comm)
        loss, norm = self.gradient(parts).tolist()  # the one time that an update waits for a GPU
        if first:
            self._check_shared(loss)
        # Loss and gradients are the same on every rank, so all ranks stop here together.
        if not math.isfinite(loss) or not self._is_bearable(norm):
            self._diverged(loss, norm)
        self.checkpointer.before_update()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        at = self.position
        at.update, at.loss, at.gradient_norm = at.update + 1, at.loss + loss, at.gradient_norm + (norm if math.isfinite(norm) else 0)

    def _is_bearable(self, norm: float) -> bool:
        """Whether the gradient is finite, or only left float16: then this update is left out, and the next ones are scaled less."""
        return math.isfinite(norm) or (self.scaler.is_enabled() and self.scaler.get_scale() > 1)

    def _check_shared(self, loss: float) -> None:
        """See that the loss is of all ranks together, and so are the gradients."""
        lowest, highest = all_min(np.array([loss, -loss]), self.domain.world_comm)
        if lowest != -highest and not math.isnan(loss):
            raise TrainingError(
                f"the loss is {lowest:.6g} on one rank and {-highest:.6g} on another: expected one number of the whole batch on the whole "
                "grid; sum what is local with hpcml.parallel.global_sum(domain.world_comm, ...)"
            )
        check_gradients(self.model, self.domain.world_comm)

    def gradient(self, parts: list[Batch]) -> Tensor:
        """Leave the gradient of an update in the parameters, clipped; give loss and norm, float64, (2,), which are not waited for."""
        losses = []
        for batch in parts:
            x, y = self.train.take(batch.samples)
            part = self.loss(self.domain, self.model(x), y) * batch.weight
            self.scaler.scale(part).backward()
            losses.append(part.detach())
        self.scaler.unscale_(self.optimiser)
        bound = math.inf if self.spec.clip is None else self.spec.clip
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), bound)
        return torch.stack([sum(losses[1:], start=losses[0]), norm.to(losses[0].dtype)])

    def _diverged(self, loss: float, norm: float) -> None:
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

    def _finish_epoch(self) -> float:
        done, valid = self.position, self.evaluate(self.valid)
        self.position = Position(done.epoch + 1)
        if self.metrics is not None:
            self.metrics.write(
                self.position.epoch,
                step=self.step,
                train_loss=done.loss / done.update,
                valid_loss=valid,
                learning_rate=self.optimiser.param_groups[0]["lr"],
                gradient_norm=done.gradient_norm / done.update,
                seconds=done.seconds,
                bytes_sent=traffic.bytes,
            )
        return done.loss / done.update if math.isnan(valid) else valid

    def _model_state(self) -> dict[str, Any]:
        """State dict; buffers, which a forward pass may change while a lazy copy is taken, are copied now."""
        buffers = dict(self.model.named_buffers())
        return {name: value.clone() if name in buffers else value for name, value in self.model.state_dict().items()}

    def _go_to(self, saved: dict[str, Any]) -> None:
        self.position = Position(**saved)


def _set_random(states: Tensor) -> None:
    """Go on with this rank's stream; on another number of ranks, where streams do not match ranks, with the one that is there."""
    if len(states) == 1:
        torch.set_rng_state(states[0])
