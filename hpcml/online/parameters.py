"""Parameters of simulations: at random, or spread evenly."""

from collections.abc import Mapping

import numpy as np
import torch

from hpcml.core.optional_module import optional_module
from hpcml.mpi.seeds import uniform


def design(kind: str, dims: int, numbers: range, seed: int) -> np.ndarray:
    """Points of a unit cube for some simulations, before anything is known of them.

    Parameters
    ----------
    kind : str
        ``uniform``: each number has its own, whatever the others are. ``halton``, ``sobol``, ``latin_hypercube``: scrambled sequences of
        `scipy.stats.qmc`.
    dims : int
        Parameters of a simulation.
    numbers : range
        Of the simulations, from 0 for a kind that spreads them.
    seed : int
        Of the run.

    Returns
    -------
    numpy.ndarray, float64, (simulation, parameter)
        The same on every rank.

    Raises
    ------
    ConfigError
        Where SciPy is needed and missing.

    Communication
    -------------
    Local.

    References
    ----------
    A. B. Owen, Scrambling Sobol' and Niederreiter-Xing points, Journal of Complexity 14, 1998, doi:10.1006/jcom.1998.0487.

    Examples
    --------
    >>> design("uniform", 2, range(5), 0).shape
    (5, 2)
    """
    if not dims:
        return np.zeros((len(numbers), 0))
    if kind == "uniform":
        index = torch.arange(numbers.start, numbers.stop)
        return np.stack([uniform(seed, ("parameter", j), index, torch.float64).numpy() for j in range(dims)], 1)
    qmc = optional_module("scipy.stats.qmc", f"data.sampler = {kind!r} needs the package SciPy", "scipy")
    rng = np.random.default_rng(seed)
    sequence = {"halton": qmc.Halton, "sobol": qmc.Sobol, "latin_hypercube": qmc.LatinHypercube}[kind](dims, rng=rng)
    if kind == "sobol":  # whole powers of two, as its balance has them
        points = sequence.random_base2(max(0, numbers.stop - 1).bit_length())[numbers.start : numbers.stop]
    else:
        points = sequence.random(numbers.stop)[numbers.start :]
    return np.asarray(points, np.float64)


def scaled(points: np.ndarray, ranges: Mapping[str, tuple[float, float]]) -> np.ndarray:
    """Parameters between their least and largest values, from points of the unit cube.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> float(scaled(np.array([[0.5]]), {"viscosity": (1.0, 3.0)})[0, 0])
    2.0
    """
    if not ranges:
        return points
    low, high = (np.array(bounds) for bounds in zip(*ranges.values(), strict=True))
    return np.asarray(low + (high - low) * points)


def choose_parameters(ranges: Mapping[str, tuple[float, float]], numbers: range, seed: int) -> np.ndarray:
    """Parameters of some simulations, each at random for itself.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> choose_parameters({"viscosity": (0.0, 1.0)}, range(5), 0).shape
    (5, 1)
    """
    return scaled(design("uniform", len(ranges), numbers, seed), ranges)
