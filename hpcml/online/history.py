"""An even sample of all that came: what a run that never comes back to its early states is learned from."""

from collections.abc import Mapping

import numpy as np

from hpcml.online.draws import Draws
from hpcml.online.reservoir import Reservoir

_KEYS = 1 << 62


class History(Reservoir):
    """Keeps samples of all times alike, for one long simulation that changes as it goes.

        put    gives the sample a random key; where all places are taken, of those that were drawn the one with the smallest key goes, and
               where none was, put waits
        draw   where there are both, one that was never drawn or one that was with equal chances, and any of these with equal chances, while
               more than the watermark are there
        once no more come, what is drawn goes, until nothing is left

    Samples with the largest keys are an even choice of all that came, whatever their number, so that the first tenth of a run has a tenth
    of the places to its end, but for those of the newest samples, which wait to be drawn: two draws for a new sample keep them few. From a
    `hpcml.online.reservoir.Reservoir` early samples go exponentially fast, and what they taught is forgotten. Here too no sample is lost
    before it was learned from.

    References
    ----------
    J. S. Vitter, Random sampling with a reservoir, ACM Trans. Math. Softw. 11 (1985) 37; with keys in place of a count, E. Cohen and
    H. Kaplan, Summarizing data using bottom-k sketches, PODC 2007.

    Examples
    --------
    >>> buffer = History(2, 0, Draws(0, "example"))
    >>> _ = buffer.put(), buffer.put()
    >>> buffer.room, buffer.draw() in (0, 1), buffer.room
    (0, True, 1)
    """

    def __init__(self, capacity: int, watermark: int, draws: Draws) -> None:
        super().__init__(capacity, watermark, draws)
        self._keys = np.zeros(capacity, np.int64)

    def put(self) -> int:
        place = super().put()
        self._keys[place] = self.draws.below(_KEYS)
        return place

    def next_to_draw(self) -> tuple[list[int], int]:
        places = self.unseen if not self.seen or (self.unseen and self.draws.below(2)) else self.seen
        return places, self.draws.below(len(places))

    def next_to_go(self) -> int:
        return int(np.argmin(self._keys[self.seen]))

    def state(self) -> dict[str, np.ndarray]:
        return super().state() | {"keys": self._keys.copy()}

    def go_on(self, state: Mapping[str, np.ndarray]) -> None:
        super().go_on(state)
        self._keys[:] = state["keys"]
