"""What chooses the parameters of simulations, and may learn from training which ones are worth a simulation."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np


class Sampler(ABC):
    """Parameters of all simulations, of which those of simulations that have not begun may still change.

        design -> table;   every some updates:  observe(what updates showed), choose(what has not begun) -> table

    It works in the unit cube, whatever the ranges of the parameters are, and lives on the first trainer. What it does may depend on its
    design, on what it was told, and on random numbers keyed by a seed and a count of its own (see `hpcml.mpi.seeds`), and on nothing else:
    a run that is repeated in order, or goes on from a checkpoint, then has the same simulations. A sampler of one's own is named by
    ``data.sampler = "module:name"``.

    Parameters
    ----------
    design : numpy.ndarray, float64, (simulation, parameter)
        What is chosen before anything is known.

    Attributes
    ----------
    design, table : numpy.ndarray, float64, (simulation, parameter)
        What was chosen first, and what is chosen now.
    every : int or None
        Updates from one choice to the next; None for a sampler that keeps to its design.
    look : int or None
        Of so many updates it hears of one; None for a sampler that needs no losses.
    scores : bool
        Whether it wants candidates to be scored by the residual of what the model makes of them.

    Communication
    -------------
    Local.
    """

    every: int | None = None
    look: int | None = 1
    scores: ClassVar[bool] = False

    def __init__(self, design: np.ndarray) -> None:
        self.design, self.table = design, design.copy()

    def observe(self, simulations: np.ndarray, steps: np.ndarray, errors: np.ndarray) -> None:  # noqa: B027  some do not look
        """Hear of one update: simulation, step and loss of each of its samples, in the order in which they were drawn."""

    def candidates(self) -> np.ndarray:
        """Points to be scored for the next choice, (candidate, parameter); asked for where ``scores``, else there are none."""
        return self.table[:0]

    @abstractmethod
    def choose(self, numbers: np.ndarray, scores: np.ndarray | None) -> np.ndarray:
        """Points for the first of the simulations that have not begun, as many as it likes.

        Parameters
        ----------
        numbers : numpy.ndarray, int64
            Of these simulations, in the order in which they begin.
        scores : numpy.ndarray, float64, or None
            Of the candidates, where there are any: the larger, the worse the model solves the equation there.

        Returns
        -------
        numpy.ndarray, float64, (first simulations, parameter)
            In the unit cube.
        """

    def state(self) -> dict[str, np.ndarray]:
        """What a restart needs to know besides the table."""
        return {}

    def go_on(self, state: Mapping[str, np.ndarray]) -> None:  # noqa: B027  most have nothing to go on with
        """Take over what `state` gave."""
