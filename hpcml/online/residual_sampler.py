"""Choice of simulations where what the model predicts solves the equation worst."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch

from hpcml.core.config import Count, Draws, NonNegative, Share
from hpcml.mpi.seeds import uniform
from hpcml.online.parameters import design
from hpcml.online.sampler import Sampler


class ResidualSampler(Sampler):
    """Draws simulations from candidates in proportion to a power of the equation's residual.

        candidates, at random -> residual of the model's prediction, relative to the change that it predicts -> some of them, without
        replacement, each with a weight of residual ^ power

    No simulation and no second model is needed to score a candidate.

    Parameters
    ----------
    simulations, dims : int
        Simulations, and parameters of each.
    seed : int
        Of the run.
    base : str
        Design, which simulations that are not chosen keep to.
    every : int
        Updates from one choice to the next.
    pool : int
        Candidates.
    chosen : int
        Simulations that are chosen at a time.
    share : float
        Of these that are candidates; the others keep to the design.
    power : float
        0 for candidates as they come.
    residual : str, optional
        Name, or ``module:name`` of one's own: gives the residual of a step, (sample, channel, *local_shape), and is called with ``domain``,
        ``parameters``, a dict, ``interval``, ``before`` and ``after``, fields of that form. By default that of the equation, or of a
        simulation that has one of the same name.

    References
    ----------
    Polanska et al., arXiv:2605.21348, choose trajectories by the residual of a roll-out; the norm and the power are ours.

    Examples
    --------
    >>> sampler = ResidualSampler(4, 2, 0, pool=6, chosen=2)
    >>> sampler.choose(np.arange(4), np.ones(len(sampler.candidates()))).shape
    (2, 2)
    """

    look = None
    scores: ClassVar[bool] = True

    def __init__(
        self,
        simulations: int,
        dims: int,
        seed: int,
        base: Literal["uniform", "halton", "sobol", "latin_hypercube"] = "uniform",
        every: Count = 100,
        pool: Draws = 16,
        chosen: Count = 4,
        share: Share = 0.75,
        power: NonNegative = 1.0,
        residual: str | None = None,
    ) -> None:
        super().__init__(design(base, dims, range(simulations), seed))
        self.every, self.residual, self._seed = every, residual, seed
        self._pool, self._chosen, self._share, self._power = pool, chosen, share, power
        self._generation = 0

    def candidates(self) -> np.ndarray:
        dims = self.design.shape[1]
        index = torch.arange(self._pool * dims).view(self._pool, dims)
        return uniform(self._seed, ("residual", self._generation), index, torch.float64).numpy()

    def choose(self, numbers: np.ndarray, scores: np.ndarray | None) -> np.ndarray:
        points, generation = self.candidates(), self._generation
        self._generation += 1
        assert scores is not None
        rolls = uniform(self._seed, ("residual", generation, "noise"), torch.arange(len(points)), torch.float64).numpy()
        noise = -np.log(-np.log(rolls.clip(1e-300, 1 - 1e-16)))  # Gumbel's: the largest sums are a draw without replacement
        keys = self._power * np.log(np.nan_to_num(scores, nan=0.0).clip(1e-300, 1e300)) + noise
        best = points[np.argsort(-keys, kind="stable")[: min(self._chosen, len(numbers))]]
        numbers = numbers[: len(best)]
        steered = uniform(self._seed, ("residual", generation, "share"), torch.from_numpy(numbers), torch.float64).numpy() < self._share
        return np.where(steered[:, None], best, self.design[numbers])

    def state(self) -> dict[str, np.ndarray]:
        return {"generation": np.array([self._generation])}

    def go_on(self, state: Mapping[str, np.ndarray]) -> None:
        self._generation = int(state["generation"][0])
