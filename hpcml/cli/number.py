"""Numbers on the command line, which are looked at before anything begins."""

import argparse
import math
from dataclasses import dataclass

MOST = (1 << 31) - 1
"""Of what is counted: more does not fit into MPI's counts."""

MOST_SECONDS = 1e6
"""Of a wait: eleven days, and no more than a clock can count."""


@dataclass(frozen=True)
class Number:
    """The ``type`` of an argument that is a number between two others.

    Parameters
    ----------
    low, high : int or float
        Bounds, which belong to it; whole numbers make it one.

    Raises
    ------
    argparse.ArgumentTypeError
        When called with text that is no such number.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> Number(1, 9)("3")
    3
    >>> Number(0.0, 60.0)("nan")
    Traceback (most recent call last):
    argparse.ArgumentTypeError: expected a number from 0 to 60, got 'nan'
    """

    low: float
    high: float

    def __call__(self, text: str) -> float:
        try:
            value = type(self.low)(text)
        except ValueError:
            value = math.nan
        if not self.low <= value <= self.high:
            kind = "a whole number" if isinstance(self.low, int) else "a number"
            shown = text if len(text) <= 40 else f"{text[:40]}..."
            raise argparse.ArgumentTypeError(f"expected {kind} from {self.low:.10g} to {self.high:.10g}, got {shown!r}")
        return value
