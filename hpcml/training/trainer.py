"""Training: update after update, on ranks that share fields and groups of ranks that share batches."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from mpi4py import MPI
from torch import nn

from hpcml.core.errors import ConfigError
from hpcml.core.named import complete_config
from hpcml.core.options import build_function
from hpcml.core.progress import progress
from hpcml.core.training_table import Training
from hpcml.data.agreed_updates import agreed_updates
from hpcml.data.own_stream import stream_of
from hpcml.data.samples import Samples
from hpcml.data.stream import Part, Stream
from hpcml.io.checkpoint import Checkpointer
from hpcml.models.on_spaces import all_twins
from hpcml.mpi import Monitor, StopSignal
from hpcml.parallel.exchange import traffic
from hpcml.training.average import Average
from hpcml.training.combinations import training_comm
from hpcml.training.comparison import Comparison
from hpcml.training.early_stopping import EarlyEnd
from hpcml.training.loss import Loss
from hpcml.training.mean_loss import mean_loss
from hpcml.training.metrics import MetricsWriter
from hpcml.training.optimiser import build_optimiser
from hpcml.training.position import Position
from hpcml.training.recomputation import recompute
from hpcml.training.saves import Saves
from hpcml.training.training_state import finish_rows, opened, register
from hpcml.training.update import Update

_log = logging.getLogger(__name__)
ROW_EVERY = 100
"""Updates from one validation to the next where data have no epochs and the settings do not say."""


class Trainer:
    """Trains a model on fields, stored ones or such as come while it trains, from a script of one's own as from a case.

    Parameters
    ----------
    model : Module
        Maps fields to fields, (batch, channel, *local) on a grid; built from hpcml's layers.
    train : Samples or Stream
        What it learns from: `Pairs`, epoch after epoch, or a `Stream` of updates.
    valid : Samples, optional
        What only measures it.
    spec : Training, optional
        The table ``[training]`` of a case; by default it is made of ``settings``.
    loss : callable, optional
        ``loss(space, prediction, target)`` in place of the name in ``spec``: of the whole batch, the same on every rank.
    optimiser : torch.optim.Optimizer, optional
        In place of the one that ``spec`` names.
    schedule : callable, optional
        ``schedule(done)`` in place of the name in ``spec``: share of the learning rate at a share of training.
    callbacks : iterable of callable
        Each is called as ``callback(trainer)`` on every rank with every row of ``metrics.csv``, which ``trainer.numbers`` then holds.
    folder : path, optional
        Run directory. Gets ``checkpoints`` and ``metrics.csv``; if it holds some, `fit` goes on from there.
    checkpointer, stop, metrics, monitor
        In place of what `fit` makes of ``folder``: a lazy `Checkpointer`, a `StopSignal`, on one rank a `MetricsWriter`, and a `Monitor`.
    **settings
        Keys of the table ``[training]``: ``learning_rate=1e-3``, ``batch_size=8``, ``loss="h1"``.

    Attributes
    ----------
    comm : MPI.Intracomm
        All ranks of the training: those of the space, and of all stages of a pipeline.
    position : Position
        Where training stands.
    stopped : bool
        Whether `fit` returned because it was asked to stop.
    numbers : dict of str to float
        Of the last row of ``metrics.csv``: of an epoch, or of ``validate_every`` updates.

    Raises
    ------
    ConfigError
        For settings that have no meaning, with the closest known key.

    Communication
    -------------
    Collective over all ranks; after each update one number to agree on whether to stop, if it can be asked to. Every rank holds all
    parameters and gets the whole gradient, so all take the same step.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> from hpcml.fields import Grid, decompose
    >>> from hpcml.models.layers import Conv1d
    >>> domain = decompose(Grid((16,)), MPI.COMM_SELF)
    >>> from hpcml.data import Pairs
    >>> x = torch.randn(8, 1, 16)
    >>> model = Conv1d(domain, 1, 1, 3, padding=1, padding_mode="circular")
    >>> trainer = Trainer(model, Pairs.of_whole(domain, x, x.roll(1, -1)), loss="mse", learning_rate=0.1, schedule="constant")
    >>> trainer.fit(epochs=100) < 0.01
    True
    """

    def __init__(
        self,
        model: nn.Module,
        train: Samples | Stream,
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
        monitor: Monitor | None = None,
        **settings: Any,
    ) -> None:
        named = ("loss", loss), ("optimiser", optimiser), ("schedule", schedule)
        settings |= {key: value for key, value in named if isinstance(value, str | dict)}
        if spec is not None and settings:
            raise ConfigError(f"a trainer takes its settings from spec or one by one, got both: {', '.join(settings)}")
        self.spec = spec = spec or complete_config(settings, Training, "Trainer")
        self.model, self.train, self.valid, self.space = model, train, valid, train.space
        for each in all_twins(model) if spec.recompute else ():
            recompute(each, () if isinstance(spec.recompute, bool) else spec.recompute)
        self.stream = stream_of(train, spec)
        self.loss: Loss = loss if callable(loss) else build_function("loss", spec.loss)
        self.optimiser: torch.optim.Optimizer = (
            optimiser if isinstance(optimiser, torch.optim.Optimizer) else build_optimiser(model, spec.optimiser, spec.learning_rate)
        )
        given = train if spec.stream is None else self.stream
        self.update = Update(model, self.optimiser, self.stream.watched(model, self.loss), given, spec)
        self.average = None if spec.ema is None else Average(model, spec.ema)
        self._rate: Callable[[float], float] = schedule if callable(schedule) else build_function("schedule", spec.schedule)
        self.position, self.stopped, self.numbers = Position(), False, dict[str, float]()
        self.comm = training_comm(model, given, spec)
        self._comparison, self.early_end = Comparison(model, self.comm), EarlyEnd(spec.early_stopping, valid, self.comm)
        self._callbacks, self._folder, self.metrics, self.monitor = tuple(callbacks), folder, metrics, monitor or Monitor(MPI.COMM_SELF)
        self.keep(checkpointer, stop)

    def keep(self, checkpointer: Checkpointer | None, stop: StopSignal | None) -> None:
        """Save by a checkpointer from now on, and ask a signal after every update; or neither."""
        self.checkpointer, self._stop = checkpointer, stop
        self._saves = Saves(checkpointer, self.comm, self.spec.checkpoint_share)
        if checkpointer is not None:
            register(self, checkpointer)

    @property
    def step(self) -> int:
        """Updates done since training began."""
        return self.position.step

    def fit(self, epochs: int | None = None, *, updates: int | None = None) -> float:
        """Train to the last update, from wherever the state stands, or until asked to stop: then `stopped` is true.

        Parameters
        ----------
        epochs : int, optional
            Epochs from the very beginning, default those of the settings.
        updates : int, optional
            Updates from the very beginning, in place of epochs.

        Returns
        -------
        float
            Loss on ``valid`` after the last update, or of the last epoch where there is none; NaN if there was nothing to do.

        Raises
        ------
        ConfigError
            If nothing says how long to train on data without epochs.
        TrainingError
            On every rank, if the loss or the gradient is no longer finite.
        """
        if epochs is not None or updates is not None:
            self.spec = self.spec.model_copy(update={"epochs": epochs or self.spec.epochs, "updates": updates})
        if self.spec.updates is None and self.stream.num_updates is None:
            raise ConfigError("the data have no epochs: say how many updates to do with training.updates, or fit(updates=...)")
        with nullcontext() if self._folder is None or self.checkpointer is not None else opened(self, Path(self._folder)):
            return self._fit()

    def _fit(self) -> float:
        total, last, at = self.total, math.nan, self.position
        every = self.spec.validate_every or self.stream.num_updates or ROW_EVERY
        self._saves.begin(self.step, finished := (at.step >= total or self.early_end.reason is not None) and not at.updates)
        if finished:
            finish_rows(self)
            return last
        since, updates = self._resume(), self._updates()
        with progress("update", total, shown=self.comm.rank == 0, first=self.step) as bar:
            while not self.stopped and self.early_end.reason is None:
                at = self.position
                if at.updates and (at.step % every == 0 or at.step >= total):
                    last, since = self._tell(), self._resume()
                    continue
                parts = next(updates, None) if at.step < total else None
                if parts is None:
                    break
                since = self._update(parts, since)
                bar.advance(at.step, f"loss {at.loss / at.updates:.4g}")
                self.monitor.after_step(at.step)
                self.stopped = self._stop is not None and self._stop.agreed()
                if not self.stopped:
                    self._saves.after_update(at.step)
                self.monitor.look()
        if at.step < total and not self.stopped and not self.early_end.told(at.step, total):
            _log.warning("the data have ended after update %d of %d: training ends with them", at.step, total)
            last = self._tell() if at.updates else last
        self._saves.end(self.step)
        finish_rows(self)
        return last

    @property
    def total(self) -> int:
        """Updates from the beginning of training to its end."""
        return self.spec.updates or self.spec.epochs * (self.stream.num_updates or 0)

    def evaluate(self, pairs: Samples | None) -> float:
        """`mean_loss` of the model; NaN for no pairs."""
        if pairs is None:
            return math.nan
        with self.averaged():
            return mean_loss(self.model, self.loss, pairs, self.spec.batch_size, self.spec.seed)

    def averaged(self) -> AbstractContextManager[None]:
        """A block in which the model has the averaged parameters, where ``ema`` is set; those are what `hpcml.load` gives."""
        return nullcontext() if self.average is None else self.average.in_place()

    def _updates(self) -> Iterator[Iterable[Part]]:
        """Epoch after epoch, until the data end."""
        given = True
        while given:
            given = False
            for parts in agreed_updates(self.stream):
                given = True
                yield parts

    def _update(self, parts: Iterable[Part], since: float) -> float:
        at = self.position
        for group in self.optimiser.param_groups:
            group["lr"] = self.spec.learning_rate * self._rate(at.step / self.total)
        self._comparison.before_update(at.step)
        loss, norm = self.update.gradient(parts, at.step).tolist()  # the one time that an update waits for a GPU
        self._comparison.of_gradient(loss)
        if not math.isfinite(loss) or not self.update.is_bearable(norm):  # the same on every rank, so that all stop together
            raise self._saves.diverged(self.step, f"loss {loss}, gradient norm {norm}", bool(self.spec.noise))
        self._saves.before_update()
        self.update.step(parts, loss)
        if self.average is not None:
            self.average.update()
        now = time.monotonic()
        at.add(loss, norm if math.isfinite(norm) else 0, now - since)
        return now

    @property
    def epoch(self) -> float | None:
        """Epochs done, a whole number where one has just ended; None for data without any."""
        done, updates = self.step, self.stream.num_updates
        return None if updates is None else done // updates if done % updates == 0 else done / updates

    def _tell(self) -> float:
        """Validate, and write the row of the updates since the last one."""
        done, valid = self.position, self.evaluate(self.valid)
        self.position = Position(done.step)
        self.numbers = {
            "step": done.step,
            **({} if self.epoch is None else {"epoch": self.epoch}),
            "train_loss": done.loss / done.updates,
            "valid_loss": valid,
            "learning_rate": self.optimiser.param_groups[0]["lr"],
            "gradient_norm": done.gradient_norm / done.updates,
            "seconds": done.seconds,
            "bytes_sent": traffic.bytes,
            **self.stream.numbers(),
        }
        if self.metrics is not None:
            self.position.unwritten = self.metrics.write(self.numbers)
        for callback in self._callbacks:
            callback(self)
        self._saves.check(self.valid, valid, done.step)
        self.early_end.add(valid)
        return self.numbers["train_loss"] if math.isnan(valid) else valid

    def _resume(self) -> float:
        """Say that the next update begins now."""
        self._saves.resume()
        self.monitor.resume()
        return time.monotonic()
