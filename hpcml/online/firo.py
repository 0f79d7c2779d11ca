"""First in, random out: every sample is learned from once or a few times, in random order."""

from collections.abc import Mapping

import numpy as np

from hpcml.core.config import Count
from hpcml.online.buffer import Buffer, take_out
from hpcml.online.draws import Draws


class Firo(Buffer):
    """Gives a sample at random, and forgets it after some draws.

        put    waits while all places are taken
        draw   any with equal chances, while more than the watermark are there; after its last draw it goes

    Parameters
    ----------
    draws_each : int
        Times that a sample is drawn.

    References
    ----------
    As `hpcml.online.fifo.Fifo`.
    """

    def __init__(self, capacity: int, watermark: int, draws: Draws, draws_each: Count = 1) -> None:
        super().__init__(capacity, watermark, draws)
        self._draws_each, self._drawn = draws_each, np.zeros(capacity, np.int64)

    def draw(self) -> int:
        position = self.draws.below(self.population)
        new = position < len(self.unseen)
        places, position = (self.unseen, position) if new else (self.seen, position - len(self.unseen))
        place = places[position]
        self._drawn[place] = 1 if new else self._drawn[place] + 1
        if self._drawn[place] >= self._draws_each:
            self.give_free(take_out(places, position))
        elif new:
            self.seen.append(take_out(places, position))
        return place

    def state(self) -> dict[str, np.ndarray]:
        return super().state() | {"drawn": self._drawn.copy()}

    def go_on(self, state: Mapping[str, np.ndarray]) -> None:
        super().go_on(state)
        self._drawn[:] = state["drawn"]
