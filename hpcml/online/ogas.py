"""Choice of simulations by a generative model of hard ones."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch

from hpcml.core.config import Count, Draws, NonNegative, Share
from hpcml.mpi.seeds import uniform
from hpcml.online.diffusion import Diffusion
from hpcml.online.hardness import Hardness
from hpcml.online.parameters import design
from hpcml.online.sampler import Sampler

_FEW = 8
"""Simulations that say nothing yet of where it is hard."""
_FAR = 3.0


class Ogas(Sampler):
    """Draws simulations from a diffusion model that learns, while training goes on, which parameters are how hard.

        record    parameters of a simulation and its hardness, see `hpcml.online.hardness`, in deviations from the mean
        model     of the parameters given the hardness, trained further by some steps before each choice
        choice    with probability R: parameters that the model draws for the hardness of a record, drawn in proportion to
                  exp(sharpness hardness); else the design's own

    R goes from ``start`` to ``end`` in a line over the first generations. Where it is hard may have any shape, in many parameters too: a
    fit knows one shape, and children of single parents know none.

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
    sharpness : float
        0 for the hardness of records as they are; 1 for one in proportion to their loss.
    start, end : float
        First and last R.
    breakpoint : int
        Generations from the one to the other.
    forget : float
        Weight that what was seen before a choice keeps at the next.
    steps, batch : int
        Of training before a choice.
    ahead : int
        Simulations that are chosen at a time, the next ones.
    look : int
        Of so many updates the losses of one are looked at.

    Notes
    -----
    After the abstract of the paper and Melissa's documentation; sizes of the network, its schedule and the measure of hardness are ours.

    References
    ----------
    Online generative active sampling, arXiv:2606.09949, 2026; the documentation of Melissa's OGASBreeder.

    Examples
    --------
    >>> Ogas(4, 2, 0, base="uniform").choose(np.arange(4), None).shape
    (4, 2)
    """

    def __init__(
        self,
        simulations: int,
        dims: int,
        seed: int,
        base: Literal["uniform", "halton", "sobol", "latin_hypercube"] = "sobol",
        every: Count = 100,
        sharpness: NonNegative = 1.0,
        start: Share = 0.15,
        end: Share = 0.75,
        breakpoint: Count = 10,
        forget: Share = 0.8,
        steps: Draws = 64,
        batch: Draws = 128,
        ahead: Count = 64,
        look: Count = 4,
    ) -> None:
        super().__init__(design(base, dims, range(simulations), seed))
        self.every, self.look, self._seed, self._sharpness = every, look, seed, sharpness
        self._start, self._end, self._breakpoint, self._forget = start, end, breakpoint, forget
        self._steps, self._batch, self._ahead, self._generation = steps, batch, ahead, 0
        self._hardness, self._model = Hardness(simulations), Diffusion(dims, seed)

    def observe(self, simulations: np.ndarray, steps: np.ndarray, errors: np.ndarray) -> None:
        self._hardness.observe(simulations, steps, errors)

    def choose(self, numbers: np.ndarray, scores: np.ndarray | None) -> np.ndarray:
        generation, self._generation = self._generation, self._generation + 1
        numbers, known = numbers[: self._ahead], self._hardness.known
        chosen, stream = self.design[numbers].copy(), ("ogas", generation)
        if len(known) >= _FEW and len(numbers):
            weights = self._hardness.weight[known]
            hardness = self._hardness.sum[known] / weights
            conditions = np.clip((hardness - hardness.mean()) / max(hardness.std(), 1e-9), -_FAR, _FAR)
            self._model.fit(self.table[known], conditions, weights, self._steps, self._batch, (*stream, "fit"))
            share = self._start + (self._end - self._start) * min(generation / self._breakpoint, 1)
            index = torch.from_numpy(numbers)
            steered = np.flatnonzero(uniform(self._seed, (*stream, "share"), index, torch.float64).numpy() < share)
            biased = np.cumsum(weights * np.exp(self._sharpness * (hardness - hardness.max())))
            rolls = uniform(self._seed, (*stream, "hardness"), index[steered], torch.float64).numpy()
            records = np.searchsorted(biased / biased[-1], rolls, side="right").clip(max=len(known) - 1)
            chosen[steered] = self._model.draw(conditions[records], (*stream, "draw"))
        self._hardness.forget(self._forget)
        return chosen

    def state(self) -> dict[str, np.ndarray]:
        return {"generation": np.array([self._generation])} | self._hardness.state() | self._model.state()

    def go_on(self, state: Mapping[str, np.ndarray]) -> None:
        self._generation = int(state["generation"][0])
        self._hardness.go_on(state)
        self._model.go_on(state)
