"""How badly what a model predicts solves the equation, for parameters that nobody has simulated."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from hpcml.core.errors import ConfigError
from hpcml.core.online_data import Online
from hpcml.core.registry import known, load
from hpcml.equations import Equation
from hpcml.fields.domain import Domain
from hpcml.mpi.reductions import all_sum
from hpcml.online.samples_of import inputs_of

StepResidual = Callable[[Domain, Mapping[str, float], float, Tensor, Tensor], Tensor]
"""``residual(domain, parameters, interval, before, after)``: of a step between two states, (sample, channel, *local_shape)."""
_TIMES = 4
"""Of a prediction from parameters and time that are looked at."""


def step_residual(spec: Online, name: str | None, equation: Callable[[tuple[float, ...]], Equation] | None) -> StepResidual:
    """The residual that scores a step of a case.

        (u' - u) / dt - (f(u) + f(u')) / 2        of an equation du/dt = f(u), by the trapezoidal rule

    Parameters
    ----------
    spec : Online
        Table of the case.
    name : str, optional
        Of a residual, which comes before the equation's.
    equation : callable, optional
        The equation of some parameters.

    Raises
    ------
    ConfigError
        Where there is none.

    Communication
    -------------
    Local; that of the residual is the equation's.
    """
    if name is None and spec.simulation is not None and spec.simulation.name in known("residual"):
        options = spec.simulation.options
        made: StepResidual = load("residual", spec.simulation.name)
        return lambda domain, parameters, interval, before, after: made(domain, parameters, interval, before, after, **options)
    if name is not None:
        return load("residual", name)  # type: ignore[no-any-return]
    if equation is None:
        raise ConfigError(
            "data.sampler = 'residual' scores predictions by the residual of their equation, and a simulation of your own has none that is "
            "known: name a function by data.sampler.residual = 'module:name', or choose breed or difficulty"
        )

    def trapezoid(domain: Domain, parameters: Mapping[str, float], interval: float, before: Tensor, after: Tensor) -> Tensor:
        chosen = equation(tuple(parameters.values()))
        rates = chosen.tendency(torch.cat([before, after]), domain)
        return (after - before) / interval - rates.unflatten(0, (2, -1)).mean(0)

    return trapezoid


class ModelResidual:
    """Scores parameters by the residual of a model's prediction, relative to the change that it predicts.

        states u of the buffer     ->  u' = model(u, p)                        where a model steps
        some times t of a run      ->  u = model(p, t), u' = model(p, t + dt)  where it knows parameters and time

        score(p) = |residual| / |(u' - u) / dt|

    Parameters
    ----------
    model : Module
        In training.
    domain : Domain
        Of the trainers.
    spec : Online
        Table of the case.
    residual : callable
        As `step_residual` gives it.

    Communication
    -------------
    Collective over domain.world_comm: that of model and residual, and two sums. All groups score the same parameters, each from states of
    its own.
    """

    def __init__(self, model: nn.Module, domain: Domain, spec: Online, residual: StepResidual) -> None:
        self._model, self._domain, self._spec, self._residual = model, domain, spec, residual

    @torch.no_grad()
    def __call__(self, parameters: np.ndarray, states: Tensor | None) -> np.ndarray:
        """Score each of some parameters, (candidate, parameter); ``states``, (state, channel, *local_shape), where the model steps."""
        training = self._model.training
        self._model.eval()
        dtype = next(p.dtype for p in self._model.parameters())
        sums = np.zeros((len(parameters), 2))
        for k, values in enumerate(parameters):
            before, after = self._step(torch.from_numpy(values), states, dtype)
            named = dict(zip(self._spec.parameters, values.tolist(), strict=True))
            off = self._residual(self._domain, named, self._spec.interval, before, after)
            change = (after - before) / self._spec.interval
            sums[k] = float(off.square().sum()), float(change.square().sum())
        self._model.train(training)
        above, below = all_sum(sums, self._domain.world_comm).T
        return np.asarray(np.sqrt(above / np.maximum(below, np.finfo(np.float64).tiny)))

    def _step(self, values: Tensor, states: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        spec, domain = self._spec, self._domain
        if states is not None:
            rows, times = values.expand(len(states), -1), torch.zeros(len(states))
            return states.double(), self._model(inputs_of(states, rows, times, domain, dtype)).double()
        first = np.unique(np.linspace(0, spec.steps - 2, _TIMES).round()).astype(np.int64)
        times = spec.interval * torch.from_numpy(np.concatenate([first, first + 1])).double()
        predicted = self._model(inputs_of(None, values.expand(len(times), -1), times, domain, dtype)).double()
        before, after = predicted.unflatten(0, (2, -1))
        return before, after
