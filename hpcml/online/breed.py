"""Loss-driven choice of simulations as Melissa's Breed has it."""

from collections import deque
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch

from hpcml.core.config import Count, Draws, Positive, Share
from hpcml.mpi.seeds import normal, uniform
from hpcml.online.parameters import design
from hpcml.online.sampler import Sampler


class Breed(Sampler):
    """Puts simulations near those whose samples have a large loss.

        fitness of a sample        positive part of (loss - mean of the batch) / deviation of the batch
        fitness of a simulation    mean of that of its samples in a sliding window of updates
        choice, each for itself    with probability R: normal around a parent, drawn in proportion to fitness; else the design's own

    R goes from ``start`` to ``end`` in a line over the first generations. A child outside the bounds is drawn again with a covariance that
    is smaller by ``oob_factor``; after ``max_oob_count`` times its parent is taken.

    Parameters
    ----------
    simulations, dims : int
        Simulations, and parameters of each.
    seed : int
        Of the run.
    base : str
        Design.
    every : int
        Updates of a generation.
    window : int
        Updates that fitness is taken from.
    sigma : float
        Variance of a child around its parent, for a parameter that goes from 0 to 1.
    start, end : float
        First and last R.
    breakpoint : int
        Generations from the one to the other.
    oob_factor : float
        Of the covariance, at each further trial.
    max_oob_count : int
        Further trials.
    ahead : int
        Simulations that are chosen at a time, the next ones.

    Notes
    -----
    Melissa's page gives sigma, R and oob_factor as here by default, and neither window nor number of trials. Its adaptive covariance,
    which the paper has, is not part of that page and is not here.

    References
    ----------
    S. Dymchenko, B. Raffin, Loss-driven sampling within hard-to-learn areas for simulation-based neural network training, Machine
    Learning and the Physical Sciences, NeurIPS 2023, hal-04305233; the documentation of Melissa's DefaultBreeder.

    Examples
    --------
    >>> Breed(4, 2, 0).choose(np.arange(4), None).shape
    (4, 2)
    """

    def __init__(
        self,
        simulations: int,
        dims: int,
        seed: int,
        base: Literal["uniform", "halton", "sobol", "latin_hypercube"] = "uniform",
        every: Count = 100,
        window: Count = 500,
        sigma: Positive = 0.005,
        start: Share = 0.15,
        end: Share = 0.75,
        breakpoint: Count = 10,
        oob_factor: Positive = 0.3,
        max_oob_count: Draws = 10,
        ahead: Count = 64,
    ) -> None:
        super().__init__(design(base, dims, range(simulations), seed))
        self.every, self._seed, self._sigma = every, seed, sigma
        self._start, self._end, self._breakpoint = start, end, breakpoint
        self._factor, self._trials, self._ahead = oob_factor, max_oob_count, ahead
        self._generation = 0
        self._recent: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=window)

    def observe(self, simulations: np.ndarray, steps: np.ndarray, errors: np.ndarray) -> None:
        deviation = errors.std()
        self._recent.append((simulations, np.maximum(errors - errors.mean(), 0) / (deviation if deviation > 0 else 1)))

    def choose(self, numbers: np.ndarray, scores: np.ndarray | None) -> np.ndarray:
        generation, self._generation = self._generation, self._generation + 1
        numbers = numbers[: self._ahead]
        chosen, dims = self.design[numbers].copy(), self.design.shape[1]
        known, fitness = self.fitness()
        if not fitness.sum() > 0:
            return chosen
        share = self._start + (self._end - self._start) * min(generation / self._breakpoint, 1)
        index, stream = torch.from_numpy(numbers), ("breed", generation)
        bred = np.flatnonzero(uniform(self._seed, (*stream, "roll"), index, torch.float64).numpy() < share)
        rolls = uniform(self._seed, (*stream, "parent"), index[bred], torch.float64).numpy()
        parents = self.table[known[np.searchsorted(np.cumsum(fitness) / fitness.sum(), rolls, side="right").clip(max=len(known) - 1)]]
        chosen[bred] = parents
        trials = torch.arange(1 + self._trials)[:, None, None]
        cells = (index[bred, None] * (1 + self._trials) + trials) * dims + torch.arange(dims)
        steps = self._sigma**0.5 * normal(self._seed, (*stream, "child"), cells, torch.float64).numpy()
        children = parents + steps * self._factor ** (0.5 * np.arange(1 + self._trials)[:, None, None])
        inside = ((children >= 0) & (children <= 1)).all(2)
        found = inside.any(0)
        chosen[bred[found]] = children[inside.argmax(0)[found], np.flatnonzero(found)]
        return chosen

    def fitness(self) -> tuple[np.ndarray, np.ndarray]:
        """Simulations of the window, and the fitness of each."""
        if not self._recent:
            return np.zeros(0, np.int64), np.zeros(0)
        simulations, found = (np.concatenate(parts) for parts in zip(*self._recent, strict=True))
        known, place = np.unique(simulations, return_inverse=True)
        return known, np.bincount(place, found) / np.bincount(place)

    def state(self) -> dict[str, np.ndarray]:
        simulations, found = ([*column] for column in zip(*self._recent, strict=True)) if self._recent else ([], [])
        return {
            "generation": np.array([self._generation]),
            "simulations": np.concatenate([np.zeros(0, np.int64), *simulations]),
            "fitness": np.concatenate([np.zeros(0), *found]),
            "sizes": np.array([len(each) for each in found], np.int64),
        }

    def go_on(self, state: Mapping[str, np.ndarray]) -> None:
        self._generation = int(state["generation"][0])
        cuts = np.cumsum(state["sizes"])[:-1]
        self._recent.clear()
        if len(state["sizes"]):
            self._recent.extend(zip(np.split(state["simulations"], cuts), np.split(state["fitness"], cuts), strict=True))
