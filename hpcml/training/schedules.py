"""How the learning rate falls: its share of the one that training starts from, as a function of the share of training that is done."""

import math
from collections.abc import Callable

from hpcml.core.config import Positive

Schedule = Callable[[float], float]
"""``schedule(done)`` for done from 0 to 1. What depends on nothing else is the same after a restart."""


def constant(done: float) -> float:
    """1 to the end."""
    return 1.0


def cosine(done: float) -> float:
    """Half a period of the cosine, from 1 down to 0.

    References
    ----------
    I. Loshchilov and F. Hutter, SGDR: stochastic gradient descent with warm restarts, ICLR 2017.
    """
    return 0.5 * (1 + math.cos(math.pi * done))


def step(done: float, factor: Positive = 0.5, times: Positive = 5) -> float:
    """Multiplied by a factor at equal distances.

    Parameters
    ----------
    done : float
        Share of training that is done.
    factor : float
        What it is multiplied by.
    times : float
        Equal parts of training, each with a rate of its own.
    """
    return factor ** math.floor(times * done)
