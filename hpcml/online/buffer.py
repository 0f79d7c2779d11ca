"""Which of the samples that came are kept, and which of them the next update learns from: the places, not the fields."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from hpcml.online.draws import Draws

FREE, UNSEEN, SEEN = 0, 1, 2
"""What is at a place: nothing, a sample that no update has learned from, one that has been drawn."""


class Buffer(ABC):
    """Places for samples, and the rule by which they are filled, drawn and given free.

    A subclass says when a sample may be put and drawn, and what happens then. One of your own is named by ``data.buffer = "module:name"``.

    Parameters
    ----------
    capacity : int
        Places.
    watermark : int
        Samples that must be there before one is drawn, as long as more may come.
    draws : Draws
        Random numbers.

    Attributes
    ----------
    unseen, seen : list of int
        Places of samples that were never drawn, and of those that were, in an order of which draws make use.
    over : bool
        Whether no more samples come; set by whoever puts them.

    Communication
    -------------
    Local; alike on all ranks that share the samples.
    """

    def __init__(self, capacity: int, watermark: int, draws: Draws) -> None:
        self.capacity, self.watermark, self.draws = capacity, watermark, draws
        self.unseen: list[int] = []
        self.seen: list[int] = []
        self._free = list(range(capacity - 1, -1, -1))
        self.over = False

    @property
    def population(self) -> int:
        """Samples that are there."""
        return len(self.unseen) + len(self.seen)

    @property
    def room(self) -> int:
        """How many more can be put before one is drawn; where there is none, whoever has a sample waits."""
        return self.capacity - self.population

    def can_draw(self) -> bool:
        """Whether there are enough samples to draw one."""
        return self.population > (0 if self.over else self.watermark)

    def put(self) -> int:
        """The place of a new sample; `room` has said that there is one."""
        place = self._free.pop()
        self.unseen.append(place)
        return place

    @abstractmethod
    def draw(self) -> int:
        """The place of the sample to learn from next, whose content stays there until the next `put`."""

    def give_free(self, place: int) -> None:
        """Let a place be used again."""
        self._free.append(place)

    def state(self) -> dict[str, np.ndarray]:
        """What a restart needs to know of each place: what is there, and its position in its list."""
        kind, order = np.zeros(self.capacity, np.uint8), np.zeros(self.capacity, np.int64)
        for code, places in ((UNSEEN, self.unseen), (SEEN, self.seen)):
            kind[places], order[places] = code, np.arange(len(places))
        return {"kind": kind, "order": order}

    def go_on(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what `state` gave, or the part of it that is about the places that this rank has now."""

        def of(code: int) -> list[int]:
            places = np.flatnonzero(state["kind"] == code)
            return [int(place) for place in places[np.argsort(state["order"][places], kind="stable")]]

        self.unseen, self.seen, self._free = of(UNSEEN), of(SEEN), of(FREE)[::-1]


def take_out(places: list[int], position: int) -> int:
    """Remove an entry of a list in one step: the last one comes to its position.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> places = [5, 6, 7]
    >>> take_out(places, 0), places
    (5, [7, 6])
    """
    place = places[position]
    places[position] = places[-1]
    places.pop()
    return place
