"""Choice of simulations where the model is expected to be wrong, by a fit to how wrong it was."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch

from hpcml.core.config import Count, Draws, NonNegative, Share
from hpcml.mpi.seeds import uniform
from hpcml.online.hardness import Hardness
from hpcml.online.parameters import design
from hpcml.online.sampler import Sampler

_MOST_CROSSED = 12
"""Parameters whose products are terms of the fit; of more, squares alone."""
_RIDGE = 1.0
"""Weight of the fit's coefficients beside the observations: one sample each."""


class Difficulty(Sampler):
    """Draws simulations in proportion to the loss that is expected of them.

        fit       to the hardness of simulations, see `hpcml.online.hardness`: quadratic in the parameters, by least squares
        choice    of some candidates, each with a weight of exp(sharpness fit), for a share of the simulations

    The loss of samples that are drawn often is smaller; a fit of few coefficients does not follow single simulations.

    Parameters
    ----------
    simulations, dims : int
        Simulations, and parameters of each.
    seed : int
        Of the run.
    base : str
        Design, which the first candidate of every simulation is from.
    every : int
        Updates from one choice to the next.
    share : float
        Of the simulations that are chosen; the others keep to the design.
    sharpness : float
        0 for the design's density; 1 for one that is proportional to the loss.
    forget : float
        Weight that what was seen before a choice keeps at the next.
    candidates : int
        For each simulation.
    ahead : int
        Simulations that are chosen at a time.
    look : int
        Of so many updates the losses of one are looked at.

    Examples
    --------
    >>> Difficulty(4, 2, 0, base="uniform").choose(np.arange(4), None).shape
    (4, 2)
    """

    def __init__(
        self,
        simulations: int,
        dims: int,
        seed: int,
        base: Literal["uniform", "halton", "sobol", "latin_hypercube"] = "sobol",
        every: Count = 100,
        share: Share = 0.75,
        sharpness: NonNegative = 1.0,
        forget: Share = 0.8,
        candidates: Draws = 8,
        ahead: Count = 64,
        look: Count = 4,
    ) -> None:
        super().__init__(design(base, dims, range(simulations), seed))
        self.look = look
        self.every, self._seed, self._share, self._sharpness = every, seed, share, sharpness
        self._forget, self._candidates, self._ahead = forget, candidates, ahead
        self._generation = 0
        self._hardness = Hardness(simulations)

    def observe(self, simulations: np.ndarray, steps: np.ndarray, errors: np.ndarray) -> None:
        self._hardness.observe(simulations, steps, errors)

    def choose(self, numbers: np.ndarray, scores: np.ndarray | None) -> np.ndarray:
        generation, self._generation = self._generation, self._generation + 1
        numbers = numbers[: self._ahead]
        known = self._hardness.known
        chosen, dims = self.design[numbers].copy(), self.design.shape[1]
        if len(known) and len(numbers):
            fit = self._fit(known)
            index, stream = torch.from_numpy(numbers), ("difficulty", generation)
            cells = (index[:, None] * (self._candidates - 1) + torch.arange(self._candidates - 1))[..., None] * dims + torch.arange(dims)
            others = uniform(self._seed, (*stream, "candidates"), cells, torch.float64).numpy()
            points = np.concatenate([chosen[:, None], others], 1)
            weights = np.exp(np.clip(self._sharpness * (_terms(points.reshape(-1, dims)) @ fit), -30, 30)).reshape(len(numbers), -1)
            rolls = uniform(self._seed, (*stream, "roll"), index, torch.float64).numpy()
            picks = (np.cumsum(weights, 1) <= (rolls * weights.sum(1))[:, None]).sum(1).clip(max=self._candidates - 1)
            steered = uniform(self._seed, (*stream, "share"), index, torch.float64).numpy() < self._share
            chosen[steered] = points[np.arange(len(numbers)), picks][steered]
        self._hardness.forget(self._forget)
        return chosen

    def state(self) -> dict[str, np.ndarray]:
        return {"generation": np.array([self._generation])} | self._hardness.state()

    def go_on(self, state: Mapping[str, np.ndarray]) -> None:
        self._generation = int(state["generation"][0])
        self._hardness.go_on(state)

    def _fit(self, known: np.ndarray) -> np.ndarray:
        terms, weight = _terms(self.table[known]), self._hardness.weight[known]
        left = terms.T @ (weight[:, None] * terms) + _RIDGE * np.eye(terms.shape[1])
        return np.asarray(np.linalg.solve(left, terms.T @ self._hardness.sum[known]))


def _terms(points: np.ndarray) -> np.ndarray:
    """Of a quadratic, from -1 to 1 on the cube."""
    t = 2 * points - 1
    dims = t.shape[1]
    first, second = np.triu_indices(dims) if dims <= _MOST_CROSSED else (np.arange(dims),) * 2
    return np.concatenate([np.ones((len(t), 1)), t, t[:, first] * t[:, second]], 1)
