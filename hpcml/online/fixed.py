"""Samplers that keep to their design."""

from typing import ClassVar

import numpy as np

from hpcml.online.parameters import design
from hpcml.online.sampler import Sampler


class Uniform(Sampler):
    """Each simulation has parameters of its own, at random, whatever the others have.

    Parameters
    ----------
    simulations, dims : int
        Simulations, and parameters of each.
    seed : int
        Of the run.

    Examples
    --------
    >>> Uniform(4, 2, 0).table.shape
    (4, 2)
    """

    kind: ClassVar[str] = "uniform"

    def __init__(self, simulations: int, dims: int, seed: int) -> None:
        super().__init__(design(self.kind, dims, range(simulations), seed))

    def choose(self, numbers: np.ndarray, scores: np.ndarray | None) -> np.ndarray:
        return self.table[:0]


class Halton(Uniform):
    """Spread by a scrambled Halton sequence, see `hpcml.online.parameters.design`."""

    kind = "halton"


class Sobol(Uniform):
    """Spread by a scrambled Sobol' sequence."""

    kind = "sobol"


class LatinHypercube(Uniform):
    """One simulation in each slice of each parameter."""

    kind = "latin_hypercube"
