"""Parameters of simulations: at random, or spread evenly."""

from collections.abc import Mapping

import numpy as np
import torch

from hpcml.core.optional_module import optional_module
from hpcml.mpi.seeds import uniform


def choose_parameters(ranges: Mapping[str, tuple[float, float]], numbers: range, sampler: str, seed: int) -> np.ndarray:
    """Parameters of some simulations.

    Parameters
    ----------
    ranges : mapping of str to (float, float)
        Least and largest value of each.
    numbers : range
        Of the simulations, from 0 for a sampler that spreads them.
    sampler : str
        ``uniform``: each number has its own, whatever the others are. ``halton``, ``sobol``, ``latin_hypercube``: scrambled sequences of
        `scipy.stats.qmc`.
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
    >>> choose_parameters({"viscosity": (0.0, 1.0)}, range(5), "uniform", 0).shape
    (5, 1)
    """
    if not ranges:
        return np.zeros((len(numbers), 0))
    if sampler == "uniform":
        index = torch.arange(numbers.start, numbers.stop)
        unit = np.stack([uniform(seed, ("parameter", j), index, torch.float64).numpy() for j in range(len(ranges))], 1)
    else:
        qmc = optional_module("scipy.stats.qmc", f"data.sampler = {sampler!r} needs the package SciPy", "scipy")
        kind = {"halton": qmc.Halton, "sobol": qmc.Sobol, "latin_hypercube": qmc.LatinHypercube}[sampler]
        rng = np.random.default_rng(seed)
        sequence = kind(len(ranges), rng=rng)
        if sampler == "sobol":  # whole powers of two, as its balance has them
            unit = sequence.random_base2(max(0, numbers.stop - 1).bit_length())[numbers.start : numbers.stop]
        else:
            unit = sequence.random(numbers.stop)[numbers.start :]
    low, high = (np.array(bounds) for bounds in zip(*ranges.values(), strict=True))
    return np.asarray(low + (high - low) * unit)
