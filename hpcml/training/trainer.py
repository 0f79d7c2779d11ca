"""Training: pass after pass over the pairs, on ranks that share fields and groups of ranks that share batches."""

import math
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hpcml.core.case import Training
from hpcml.core.errors import ConfigError, TrainingError
from hpcml.core.named import complete_config
from hpcml.core.options import build_function
from hpcml.core.progress import Progress, progress
from hpcml.data.samples import Pairs, Samples
from hpcml.data.schedule import Batch, Schedule
from hpcml.io.checkpoint import Checkpointer
from hpcml.io.files.agree import together
from hpcml.models.replicas import check_gradients, check_parameters
from hpcml.mpi import StopSignal
from hpcml.mpi.reductions import all_min
from hpcml.parallel.exchange import traffic
from hpcml.training.loss import Loss
from hpcml.training.metrics import MetricsWriter
from hpcml.training.optimiser import build_optimiser
from hpcml.training.position import Position
from hpcml.training.saves import Saves
from hpcml.training.update import Update

COMPARE_EVERY = 100
"""Updates from one comparison of the ranks' parameters to the next: a checksum costs a hundredth of an update or less."""


class Trainer:
    """Trains a model on pairs of fields, from a script of one's own as from a case.

    Parameters
    ----------
    model : Module
        Maps (batch, channel, *local) to (batch, channel, *local); built from hpcml's layers.
    train : Samples
        What it learns from, for instance `Pairs`.
    valid : Samples, optional
        What only measures it.
    spec : Training, optional
        The table ``[training]`` of a case; by default it is made of ``settings``.
    loss : callable, optional
        ``loss(domain, prediction, target)`` in place of the name in ``spec``: of the whole batch, the same on every rank.
    optimiser : torch.optim.Optimizer, optional
        In place of the one that ``spec`` names.
    schedule : callable, optional
        ``schedule(done)`` in place of the name in ``spec``: share of the learning rate at a share of training.
    callbacks : iterable of callable
        Each is called as ``callback(trainer)`` on every rank after every epoch; ``trainer.numbers`` then holds what the epoch gave.
    folder : path, optional
        Run directory. Gets ``checkpoints`` and ``metrics.csv``; if it holds some, `fit` goes on from there.
    checkpointer, stop, metrics
        In place of what `fit` makes of ``folder``: a `Checkpointer`, which may be lazy, a `StopSignal`, and on one rank a `MetricsWriter`.
    **settings
        Keys of the table ``[training]``: ``learning_rate=1e-3``, ``batch_size=8``, ``loss="h1"``.

    Attributes
    ----------
    position : Position
        Where training stands.
    stopped : bool
        Whether `fit` returned because it was asked to stop.
    numbers : dict of str to float
        Of the last epoch.

    Raises
    ------
    ConfigError
        For settings that have no meaning, with the closest known key.

    Communication
    -------------
    Collective over domain.world_comm; after each update one number to agree on whether to stop, if it can be asked to. Every rank holds all
    parameters and gets the whole gradient, so all take the same step.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> from hpcml.fields import Grid, decompose
    >>> from hpcml.models.layers import Conv1d
    >>> domain = decompose(Grid((16,)), MPI.COMM_SELF)
    >>> x = torch.randn(8, 1, 16)
    >>> model = Conv1d(domain, 1, 1, 3, padding=1, padding_mode="circular")
    >>> trainer = Trainer(model, Pairs.of_whole(domain, x, x.roll(1, -1)), loss="mse", learning_rate=0.1, schedule="constant")
    >>> trainer.fit(epochs=100) < 0.01
    True
    """

    def __init__(
        self,
        model: nn.Module,
        train: Samples,
        valid: Samples | None = None,
        spec: Training | None = None,
        *,
        loss: Loss | str | dict[str, Any] | None = None,
        optimiser: torch.optim.Optimizer | str | dict[str, Any] | None = None,
        schedule: Callable[[float], float] | str | dict[str, Any] | None = None,
        callbacks: Iterable[Callable[["Trainer"], object]] = (),
        folder: str | Path | None = None,
        checkpointer: Checkpointer | None = None,
        stop: StopSignal | None = None,
        metrics: MetricsWriter | None = None,
        **settings: Any,
    ) -> None:
        named = {"loss": loss, "optimiser": optimiser, "schedule": schedule}
        settings |= {key: value for key, value in named.items() if isinstance(value, str | dict)}
        if spec is not None and settings:
            raise ConfigError(f"a trainer takes its settings from spec or one by one, got both: {', '.join(settings)}")
        self.spec = spec = spec or complete_config(settings, Training, "Trainer")
        self.model, self.train, self.domain = model, train, train.domain
        self.valid = Pairs.none(train.domain, train.num_channels) if valid is None else valid
        self.loss: Loss = loss if callable(loss) else build_function("loss", spec.loss)
        self.optimiser: torch.optim.Optimizer = (
            optimiser if isinstance(optimiser, torch.optim.Optimizer) else build_optimiser(model, spec.optimiser, spec.learning_rate)
        )
        self.update = Update(model, self.optimiser, self.loss, self.domain, spec.clip, spec.precision == "float16")
        self._rate: Callable[[float], float] = schedule if callable(schedule) else build_function("schedule", spec.schedule)
        groups = self.domain.num_data, self.domain.data_index
        self.schedule = Schedule(train.num_samples, spec.batch_size, spec.accumulate, *groups, spec.seed)
        self.position, self.stopped, self._compared = Position(), False, False
        self.numbers: dict[str, float] = {}
        self._callbacks, self._folder, self._stop, self.metrics = tuple(callbacks), folder, stop, metrics
        self.checkpointer: Checkpointer | None = None
        self._saves: Saves | None = None
        if checkpointer is not None:
            self._register(checkpointer)

    def _register(self, checkpointer: Checkpointer) -> None:
        self.checkpointer = checkpointer
        self._saves = Saves(checkpointer, self.domain.world_comm, self.spec.checkpoint_share)
        checkpointer.register("model", self._model_state, self.model.load_state_dict)
        checkpointer.register("optimiser", self.optimiser.state_dict, self.optimiser.load_state_dict)
        checkpointer.register("position", lambda: asdict(self.position), lambda saved: setattr(self, "position", Position(**saved)))
        if (scaler := self.update.scaler).is_enabled():
            checkpointer.register("scale", scaler.state_dict, scaler.load_state_dict, required=False)

    @property
    def step(self) -> int:
        """Updates done since training began."""
        return self.position.epoch * self.schedule.num_updates + self.position.update

    def fit(self, epochs: int | None = None) -> float:
        """Train to the last epoch, from wherever the state stands, or until asked to stop: then `stopped` is true.

        Parameters
        ----------
        epochs : int, optional
            Epochs from the very beginning, default those of the settings.

        Returns
        -------
        float
            Loss on ``valid`` after the last epoch, or of the last epoch where there is none; NaN if no epoch was completed.

        Raises
        ------
        TrainingError
            On every rank, if the loss or the gradient is no longer finite.
        """
        if epochs is not None:
            self.spec = self.spec.model_copy(update={"epochs": epochs})
        with ExitStack() as stack:
            if self._folder is not None and self.checkpointer is None:
                self._open(Path(self._folder), stack)
            return self._fit()

    def _open(self, folder: Path, stack: ExitStack) -> None:
        """Open what a run directory holds, for the length of one call of `fit`, and go on from there."""
        comm = self.domain.world_comm
        self._stop = stack.enter_context(StopSignal(comm))
        self._register(stack.enter_context(Checkpointer(folder / "checkpoints", comm, lazy=True)))
        stack.callback(self._forget)
        restored = self.checkpointer.restore() if self.checkpointer is not None else None
        with together(comm, f"opening {folder / 'metrics.csv'}"):
            if comm.rank == 0:
                self.metrics = stack.enter_context(MetricsWriter(folder, None if restored is None else self.position.epoch))

    def _forget(self) -> None:
        self.checkpointer = self._saves = self._stop = self.metrics = None

    def _fit(self) -> float:
        total, last, finished = self.spec.epochs * self.schedule.num_updates, math.nan, self.position.epoch >= self.spec.epochs
        if self._saves is not None:
            self._saves.begin(self.step, finished)
        if finished:
            return last
        with progress("update", total, shown=self.domain.world_comm.rank == 0, first=self.step) as bar:
            while not self.stopped and self.position.epoch < self.spec.epochs:
                if self._saves is not None:
                    self._saves.resume()
                self._updates(bar)
                if not self.stopped:
                    last = self._finish_epoch()
        if self._saves is not None:
            self._saves.end(self.step)
        with together(self.domain.world_comm, "writing metrics.csv"):
            if self.metrics is not None:
                self.metrics.finish()
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
            if self._stop is not None and self._stop.agreed():
                self.stopped = True
                return
            if self._saves is not None:
                self._saves.after_update(self.step)

    def _update(self, parts: list[Batch]) -> None:
        epoch = self.position.epoch + self.position.update / self.schedule.num_updates
        for group in self.optimiser.param_groups:
            group["lr"] = self.spec.learning_rate * self._rate(epoch / self.spec.epochs)
        first, self._compared = not self._compared, True
        if self.step % COMPARE_EVERY == 0 or first:
            check_parameters(self.model, self.domain.world_comm)
        taken = lambda: ((*self.train.take(batch.samples), batch.weight) for batch in parts)  # noqa: E731  one part at a time
        loss, norm = self.update.gradient(taken()).tolist()  # the one time that an update waits for a GPU
        if first:
            self._check_shared(loss)
        # Loss and gradients are the same on every rank, so all ranks stop here together.
        if not math.isfinite(loss) or not self.update.is_bearable(norm):
            self._diverged(loss, norm)
        if self._saves is not None:
            self._saves.before_update()
        self.update.step(taken, loss)
        at = self.position
        at.update, at.loss, at.gradient_norm = at.update + 1, at.loss + loss, at.gradient_norm + (norm if math.isfinite(norm) else 0)

    def _check_shared(self, loss: float) -> None:
        """See that the loss is of all ranks together, and so are the gradients."""
        lowest, highest = all_min(np.array([loss, -loss]), self.domain.world_comm)
        if lowest != -highest and not math.isnan(loss):
            raise TrainingError(
                f"the loss is {lowest:.6g} on one rank and {-highest:.6g} on another: expected one number of the whole batch on the whole "
                "grid; sum what is local with hpcml.parallel.global_sum(domain.world_comm, ...)"
            )
        check_gradients(self.model, self.domain.world_comm)

    def _diverged(self, loss: float, norm: float) -> None:
        good = "nothing was saved, for there is no folder" if self._saves is None else self._saves.last_good()
        raise TrainingError(
            f"training diverged at step {self.step}: loss {loss}, gradient norm {norm}; {good}. "
            "Lower training.learning_rate, set training.clip, or look for NaN in the data"
        )

    def _finish_epoch(self) -> float:
        done, valid = self.position, self.evaluate(self.valid)
        self.position = Position(done.epoch + 1)
        self.numbers = {
            "step": self.step,
            "train_loss": done.loss / done.update,
            "valid_loss": valid,
            "learning_rate": self.optimiser.param_groups[0]["lr"],
            "gradient_norm": done.gradient_norm / done.update,
            "seconds": done.seconds,
            "bytes_sent": traffic.bytes,
        }
        if self.metrics is not None:
            self.metrics.write(self.position.epoch, **self.numbers)
        for callback in self._callbacks:
            callback(self)
        return self.numbers["train_loss"] if math.isnan(valid) else valid

    def _model_state(self) -> dict[str, Any]:
        """State dict; buffers, which a forward pass may change while a lazy copy is taken, are copied now."""
        buffers = dict(self.model.named_buffers())
        return {name: value.clone() if name in buffers else value for name, value in self.model.state_dict().items()}
