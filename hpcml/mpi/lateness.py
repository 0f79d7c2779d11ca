"""Which of the ranks that step together holds the others up.

    late = own time of a rank - own time of the median rank - what is usual for this rank

A rank is named that was late by half of a step in three steps in a row, or by 15 % in twelve of sixteen, if that is half as much again as
any other rank was for as long. Where others often are late for one step, more steps in a row are asked for, so that chance would need
ten thousand steps. What is usual is a rank's own median, up to 40 % of a step: a larger share of the work is not slowness.
"""

from dataclasses import dataclass

import numpy as np

HISTORY = 64
"""Steps that are remembered."""
LEAST_S = 2e-3
"""What is shorter is nothing to be told of."""
TIMES_OTHERS = 1.5
CHANCE = 1e-4
"""That the steps in a row in which a rank is late are no more than the odd late steps of the others."""
EVERY = 8
"""Steps after which the length of a step is looked at again."""
USUAL_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class Window:
    """A rank is late where it was so in ``late`` of ``steps`` steps, by a share of a step; ``first`` steps are needed to tell."""

    steps: int
    late: int
    share: float
    first: int


WINDOWS = Window(3, 3, 0.5, 8), Window(16, 12, 0.15, 48)


@dataclass(frozen=True, slots=True)
class Late:
    """A rank that holds the others up.

    Attributes
    ----------
    rank : int
        Which.
    steps : int
        Of the window that says so.
    own, median : float
        Own time of the rank, and of the median rank: seconds, mean over the window.
    others : float
        By how many seconds any other rank was late for as long.
    """

    rank: int
    steps: int
    own: float
    median: float
    others: float


class Lateness:
    """Compares the ranks' own times, step after step.

    Parameters
    ----------
    size : int
        Ranks.

    Examples
    --------
    >>> lateness = Lateness(4)
    >>> [lateness.add([0.10, 0.10, 0.11, 0.10]) for _ in range(8)][-1]
    []
    >>> [[late.rank for late in lateness.add([0.10, 0.17, 0.11, 0.10])] for _ in range(3)]
    [[], [], [1]]
    """

    def __init__(self, size: int) -> None:
        self._excess = np.zeros((HISTORY, size))
        self._learned = np.zeros((HISTORY, size))
        self._medians = np.zeros(HISTORY)
        self._known, self._count, self._typical = 0, 0, 0.0

    def add(self, own: np.ndarray | list[float], doubt: np.ndarray | float = 0.0) -> list[Late]:
        """Take the ranks' own times of a step, in seconds, and by how much each may be too long; the ranks that are late by now.

        Communication
        -------------
        Local: some 20 us for few ranks.
        """
        times = np.asarray(own)
        middle = (len(times) - 1) // 2  # of two the shorter: a late rank is above
        median = np.partition(times, middle)[middle]
        for history in (self._excess, self._learned, self._medians):
            history[:-1] = history[1:]
        self._excess[-1] = self._learned[-1] = times - median - doubt
        self._medians[-1] = median
        self._known, self._count = min(self._known + 1, HISTORY), self._count + 1
        if self._count <= WINDOWS[0].first or self._count % EVERY == 0:
            self._typical = float(np.median(self._medians[-self._known :]))
        if self._excess[-1].max() <= max(WINDOWS[-1].share * self._typical, LEAST_S):
            return []
        return next((late for window in WINDOWS if self._known >= window.first + window.steps and (late := self._late(window))), [])

    def _late(self, window: Window) -> list[Late]:
        typical = self._typical
        least = max(window.share * typical, LEAST_S)
        last = self._excess[-window.steps :]
        if not ((last > least).sum(axis=0) >= window.late).any():
            return []
        usual = np.clip(np.median(self._learned[-self._known :], axis=0), 0.0, USUAL_SHARE * typical)
        late = self._excess[-self._known :] - usual
        place = window.steps - window.late
        lasting = np.array([np.partition(late[k : k + window.steps], place, axis=0)[place] for k in range(self._known - window.steps + 1)])
        candidates = lasting[-1] > least
        if candidates.all():
            return []
        others = float(lasting[:, ~candidates].max(initial=0.0))
        candidates &= lasting[-1] > TIMES_OTHERS * others
        if window.late == window.steps:
            candidates &= (late[-self._in_a_row(late[:, ~candidates] > least, window.steps) :] > least).all(axis=0)
        self._learned[-window.steps :, candidates] = usual[candidates]  # it is not to become usual
        rows, median = last.mean(axis=0), float(self._medians[-window.steps :].mean())
        return [Late(rank, window.steps, median + float(rows[rank]), median, others) for rank in np.flatnonzero(candidates).tolist()]

    def _in_a_row(self, odd: np.ndarray, least: int) -> int:
        """Steps in a row in which a rank has to be late, from the odd ones in which the others were."""
        rate = min(float(odd.mean()), 0.99)
        return max(least, min(self._known, int(np.ceil(np.log(CHANCE) / np.log(rate))))) if rate > 0 else least
