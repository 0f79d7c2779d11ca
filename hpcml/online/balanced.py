"""A reservoir that draws what was drawn less, and lets go of what was drawn most."""

from collections.abc import Mapping

import numpy as np

from hpcml.online.buffer import Buffer, take_out
from hpcml.online.draws import Draws

_MOST_TRIALS = 64


class Balanced(Buffer):
    """Spreads draws evenly over samples, for simulations that are few.

        put    where all places are taken, the sample that was drawn most goes; where none was drawn, put waits
        draw   a sample that was drawn k times with a weight of 2^-k, while more than the watermark are there
        once no more come, what is drawn goes, until nothing is left

    The draws of a plain `hpcml.online.reservoir.Reservoir` are independent, so that some samples are drawn often before they go, and some
    once.

    Examples
    --------
    >>> buffer = Balanced(2, 0, Draws(0, "example"))
    >>> _ = buffer.put(), buffer.put()
    >>> sorted([buffer.draw() for _ in range(40)].count(place) > 14 for place in (0, 1))
    [True, True]
    """

    def __init__(self, capacity: int, watermark: int, draws: Draws) -> None:
        super().__init__(capacity, watermark, draws)
        self._drawn = np.zeros(capacity, np.int64)

    @property
    def room(self) -> int:
        return self.capacity - len(self.unseen)

    def put(self) -> int:
        if self.population == self.capacity:
            self.give_free(take_out(self.seen, int(np.argmax(self._drawn[self.seen]))))
        place = super().put()
        self._drawn[place] = 0
        return place

    def draw(self) -> int:
        least = 0 if self.unseen else int(self._drawn[self.seen].min())
        for _ in range(_MOST_TRIALS):
            position = self.draws.below(self.population)
            new = position < len(self.unseen)
            places, position = (self.unseen, position) if new else (self.seen, position - len(self.unseen))
            place = places[position]
            if self.draws.below(1 << min(int(self._drawn[place]) - least, 60)) == 0:
                break
        self._drawn[place] += 1
        if new or self.over:
            take_out(places, position)
            if self.over:
                self.give_free(place)
            else:
                self.seen.append(place)
        return place

    def state(self) -> dict[str, np.ndarray]:
        return super().state() | {"drawn": self._drawn.copy()}

    def go_on(self, state: Mapping[str, np.ndarray]) -> None:
        super().go_on(state)
        self._drawn[:] = state["drawn"]
