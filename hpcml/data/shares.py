"""Samples of unlike cost, shared by groups of ranks so that all of them have about as much to do."""

from collections.abc import Sequence

import numpy as np


def balanced(costs: Sequence[float], num_groups: int) -> np.ndarray:
    """Group that takes each sample: the costliest first, each to the group that has least so far.

    Parameters
    ----------
    costs : sequence of float
        Of the samples, above 0.
    num_groups : int
        Groups; each gets a sample where there are enough.

    Returns
    -------
    ndarray
        int64, (sample,).

    Communication
    -------------
    Local: what all ranks know.

    References
    ----------
    R. L. Graham, SIAM J. Appl. Math. 17 (1969): the most that a group has is at most 4/3 of the least possible.

    Examples
    --------
    >>> balanced([5, 1, 1, 4, 3], 2).tolist()
    [0, 0, 0, 1, 1]
    """
    load, owner = np.zeros(num_groups), np.zeros(len(costs), np.int64)
    for place in np.argsort(-np.asarray(costs, np.float64), kind="stable"):
        owner[place] = group = int(np.argmin(load))
        load[group] += costs[place]
    return owner
