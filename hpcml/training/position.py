"""Where a training stands."""

from dataclasses import dataclass


@dataclass(slots=True)
class Position:
    """Where training stands: ``update`` of ``epoch`` comes next; of the epoch so far the sums over its updates and the time it took."""

    epoch: int = 0
    update: int = 0
    loss: float = 0.0
    gradient_norm: float = 0.0
    seconds: float = 0.0
