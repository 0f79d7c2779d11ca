"""When more training does not pay."""

import logging
import math
from typing import Any

from mpi4py import MPI

from hpcml.core.errors import ConfigError
from hpcml.core.training_table import EarlyStopping

_log = logging.getLogger(__name__)


class EarlyEnd:
    """Whether losses on held-out data say that training is to end.

    Parameters
    ----------
    rule : EarlyStopping or None
        None never ends it.
    held_out : Samples or None
        What is measured.
    comm : MPI.Intracomm
        All ranks of the training.

    Raises
    ------
    ConfigError
        If a rule has nothing to look at.

    Communication
    -------------
    Local, but for `add`.

    Notes
    -----
    What is kept are the best loss and the measurements since, so that a rule that was changed decides anew.
    """

    def __init__(self, rule: EarlyStopping | None, held_out: object, comm: MPI.Intracomm) -> None:
        if rule is not None and held_out is None:
            raise ConfigError("training.early_stopping looks at the loss on held-out data: hold some out, or leave it out")
        self._rule, self._comm = rule, comm
        self._last = self._best = math.inf
        self._since = 0

    def add(self, loss: float) -> None:
        """Take note of a loss; of none if it is NaN, as where nothing is held out.

        Communication
        -------------
        Collective over comm where there is a rule: a broadcast, since groups of ranks measure for themselves, and unlike processors round
        in unlike ways.
        """
        if self._rule is not None:
            loss = self._comm.bcast(loss)
        if math.isnan(loss):
            return
        gain = 0.0 if self._rule is None else self._rule.min_gain
        self._last, self._since = loss, self._since + 1
        if math.isinf(self._best) or loss < self._best - gain * abs(self._best):
            self._best, self._since = loss, 0

    @property
    def reason(self) -> str | None:
        """Why training is to end, in words, or None."""
        rule = self._rule
        if rule is None or math.isinf(self._best):
            return None
        if rule.threshold is not None and self._last <= rule.threshold:
            return f"the loss on held-out data is {self._last:.4g}, and {rule.threshold:g} is good enough"
        if rule.patience is not None and self._since >= rule.patience:
            return f"the loss on held-out data was {self._best:.4g} and has not gained on that in {self._since} measurements"
        return None

    def told(self, step: int, total: int) -> bool:
        """Whether it ends training, which is then said."""
        if self.reason is not None:
            _log.info("training ends after update %d of %d: %s", step, total, self.reason)
        return self.reason is not None

    def state_dict(self) -> dict[str, Any]:
        """What has been noted."""
        return {"last": self._last, "best": self._best, "since": self._since}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._last, self._best, self._since = state["last"], state["best"], state["since"]
