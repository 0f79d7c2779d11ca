"""Pairs of nodes that are joined, and the two directed edges of each."""

import numpy as np


def distinct_pairs(*pairs: np.ndarray) -> np.ndarray:
    """Each pair once, its lower number first, in ascending order.

    Parameters
    ----------
    *pairs : ndarray
        int64, (pair, 2).

    Returns
    -------
    ndarray
        int64, (pair, 2).

    Communication
    -------------
    Local.

    Examples
    --------
    >>> distinct_pairs(np.array([[2, 1], [0, 3]]), np.array([[1, 2]])).tolist()
    [[0, 3], [1, 2]]
    """
    ordered = np.sort(np.concatenate(pairs), 1)
    ordered = ordered[np.lexsort((ordered[:, 1], ordered[:, 0]))]
    return ordered[np.concatenate([[True], (np.diff(ordered, axis=0) != 0).any(1)])[: len(ordered)]]


def both_ways(pairs: np.ndarray) -> np.ndarray:
    """Edges (2, edge): each pair there and, next to it, back; a node with itself once.

    Communication
    -------------
    Local.
    """
    again = np.repeat(pairs[:, 0] == pairs[:, 1], 2)
    again[::2] = False
    return np.stack([pairs.ravel(), pairs[:, ::-1].ravel()])[:, ~again]
