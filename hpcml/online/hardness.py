"""How hard simulations are for the model, by the losses that updates show."""

from collections.abc import Mapping

import numpy as np

_LEARNING = 0.05
"""Weight of a new loss in the mean of its step."""


class Hardness:
    """Mean over the samples of a simulation of how much larger their loss is than usual at their step.

        of a sample      log of its loss - mean of that at the same step of all simulations
        of a simulation  mean over its samples, older ones forgotten

    The step is taken out because some times are hard for all parameters, and no choice of parameters changes that.

    Parameters
    ----------
    simulations : int
        Of the run.

    Attributes
    ----------
    weight, sum : numpy.ndarray, float64, (simulation,)
        Samples seen, and their sum.
    """

    def __init__(self, simulations: int) -> None:
        self.weight, self.sum = np.zeros(simulations), np.zeros(simulations)
        self._usual, self._known = np.zeros(0), np.zeros(0, np.bool_)

    @property
    def known(self) -> np.ndarray:
        """Simulations of which samples were seen."""
        return np.flatnonzero(self.weight > 0)

    def observe(self, simulations: np.ndarray, steps: np.ndarray, errors: np.ndarray) -> None:
        """See one update: simulation, step and loss of each of its samples."""
        logs = np.log(np.maximum(errors, np.finfo(np.float64).tiny))
        if (more := int(steps.max()) + 1 - len(self._usual)) > 0:
            self._usual, self._known = np.append(self._usual, np.zeros(more)), np.append(self._known, np.zeros(more, np.bool_))
        new = steps[~self._known[steps]]
        self._usual[new], self._known[new] = logs[~self._known[steps]], True
        off = logs - self._usual[steps]
        self._usual[steps] += _LEARNING * off
        np.add.at(self.weight, simulations, 1.0)
        np.add.at(self.sum, simulations, off)

    def forget(self, kept: float) -> None:
        """Let what was seen so far count as so much of what comes."""
        self.weight *= kept
        self.sum *= kept

    def state(self) -> dict[str, np.ndarray]:
        """For a checkpoint."""
        return {"weight": self.weight.copy(), "sum": self.sum.copy(), "usual": self._usual.copy(), "known": self._known.astype(np.uint8)}

    def go_on(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what `state` gave."""
        self.weight[:], self.sum[:] = state["weight"], state["sum"]
        self._usual, self._known = np.array(state["usual"]), np.array(state["known"], np.bool_)
