"""One dim of a grid as a dataset means it: name, box, cells, boundary, unit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ROUNDING = 4 * float(np.finfo("f4").eps)
"""Of coordinates and times, relative to the largest: layouts store them in float32."""
SAME = 1e-3
"""Of the distance of two cells or times: what differs by less was meant to be the same."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Equally wide cells along one dim.

    Attributes
    ----------
    name : str
        Of the dim.
    cells : int
        Number of them.
    first, last : float
        Centres of the first and of the last cell, ``first < last``.
    boundary : str
        ``periodic``, ``wall`` or another word; empty if nothing is known.
    unit : str
        Of the coordinates; empty if nothing is known.
    located : bool
        Whether the coordinates are known; if not, any box may be meant.
    """

    name: str
    cells: int
    first: float
    last: float
    boundary: str = ""
    unit: str = ""
    located: bool = True

    @property
    def spacing(self) -> float:
        """Width of a cell; 1 for a single one, whose width no centre tells."""
        return (self.last - self.first) / (self.cells - 1) if self.cells > 1 else 1.0

    @property
    def extent(self) -> float:
        """Length of the box."""
        return self.spacing * self.cells

    @property
    def box(self) -> str:
        """Where it begins and ends, in words."""
        ends = (self.first - self.spacing / 2, self.last + self.spacing / 2)
        shown = [f"{0.0 if abs(end) < SAME * self.spacing else end:.6g}" for end in ends]  # what float32 leaves of a zero is one
        return " to ".join(shown) if self.located else "not known"

    def has_box_of(self, other: "Axis") -> bool:
        """Whether both are of the same box, at whatever resolution.

        Files give centres of cells, left edges or both ends of the box; it is the same box if one reading makes it so for both.
        """
        if not self.located or not other.located:
            return True
        slack = SAME * min(self.spacing, other.spacing) + ROUNDING * max(map(abs, (self.first, self.last, other.first, other.last)))
        pairs = zip(self._ends(), other._ends(), strict=True)
        return any(abs(a - c) <= slack and abs(b - d) <= slack for (a, b), (c, d) in pairs)

    def has_boundary_of(self, other: "Axis") -> bool:
        """Whether both have the same boundary, as far as it is known."""
        return "" in (self.boundary, other.boundary) or self.boundary == other.boundary

    def _ends(self) -> tuple[tuple[float, float], ...]:
        h = self.spacing
        return (self.first - h / 2, self.last + h / 2), (self.first, self.last + h), (self.first, self.last)


def equally_spaced(values: Sequence[float]) -> bool:
    """Whether numbers ascend in equal steps, but for the rounding of float32.

    Examples
    --------
    >>> equally_spaced([0.1, 0.2, 0.3]), equally_spaced([0.1, 0.2, 0.5]), equally_spaced([0.3, 0.2, 0.1])
    (True, False, False)
    """
    if not all(map(math.isfinite, values)):
        return False
    if len(values) < 2:
        return True
    step = (values[-1] - values[0]) / (len(values) - 1)
    slack = SAME * step + ROUNDING * max(abs(values[0]), abs(values[-1]))
    return step > 0 and bool(np.all(np.abs(np.diff(values) - step) <= slack))


def same_times(one: Sequence[float], other: Sequence[float], largest: float = 0.0) -> bool:
    """Whether two rows of times, or two steps as ``(0, step)``, are the same but for rounding of the ``largest`` that was stored."""
    if len(one) != len(other):
        return False
    if len(one) == 0:
        return True
    step = min(abs(row[-1] - row[0]) / max(1, len(row) - 1) for row in (one, other))
    slack = SAME * step + ROUNDING * max(largest, *np.abs(one), *np.abs(other))
    return bool(np.all(np.abs(np.subtract(one, other)) <= slack))
