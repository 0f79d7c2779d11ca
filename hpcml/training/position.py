"""Where a training stands."""

from dataclasses import dataclass
from typing import Any, Self


@dataclass(slots=True)
class Position:
    """Where training stands: after ``step`` updates; of the ``updates`` since the last row of metrics the sums and the time they took.

    Attributes
    ----------
    unwritten : str
        On rank 0 the rows of metrics that could not be written yet, see `hpcml.training.metrics.MetricsWriter.write`.
    """

    step: int = 0
    updates: int = 0
    loss: float = 0.0
    gradient_norm: float = 0.0
    seconds: float = 0.0
    unwritten: str = ""

    @property
    def told(self) -> int:
        """Updates that the last row of metrics was written after."""
        return self.step - self.updates

    def add(self, loss: float, gradient_norm: float, seconds: float) -> None:
        """Count an update."""
        self.step, self.updates = self.step + 1, self.updates + 1
        self.loss, self.gradient_norm, self.seconds = self.loss + loss, self.gradient_norm + gradient_norm, self.seconds + seconds

    @classmethod
    def of_state(cls, saved: dict[str, Any], num_updates: int | None) -> Self:
        """Position that is in a checkpoint; those of version 0.1 counted epochs and the updates of one."""
        if "epoch" in saved:
            saved = {"step": saved["epoch"] * (num_updates or 0) + saved["update"], "updates": saved["update"], **saved}
            saved = {key: value for key, value in saved.items() if key not in ("epoch", "update")}
        return cls(**saved)
