"""The sampler that a case names for its simulations."""

from functools import partial

from hpcml.core.case import Case
from hpcml.core.errors import ConfigError
from hpcml.core.online_data import Online
from hpcml.core.registry import load
from hpcml.online.model_residual import StepResidual, step_residual
from hpcml.online.sampler import Sampler
from hpcml.runs.online_simulations import equation_of


def make_sampler(case: Case) -> tuple[Sampler, StepResidual | None]:
    """Make it, and what it scores candidates by, if it does.

    Raises
    ------
    ConfigError
        For what is no sampler, and for settings under which one has nothing to choose or to learn from.

    Communication
    -------------
    Local.
    """
    spec = case.data
    assert isinstance(spec, Online)
    name = spec.sampler.name
    made = load("sampler", name)(simulations=spec.simulations, dims=len(spec.parameters), seed=spec.seed, **spec.sampler.options)
    if not isinstance(made, Sampler):
        raise ConfigError(f"data.sampler = {name!r} makes {type(made).__name__}, which is no hpcml.online.Sampler")
    if made.design.shape != (spec.simulations, len(spec.parameters)):
        expected = (spec.simulations, len(spec.parameters))
        raise ConfigError(f"data.sampler = {name!r} has a design of shape {made.design.shape}: expected {expected}")
    if made.every is None:
        return made, None
    if not spec.parameters:
        raise ConfigError(f"data.sampler = {name!r} chooses parameters, and data.parameters names none: give their ranges, or leave it out")
    if spec.ordered and case.ranks.data > 1:
        raise ConfigError(
            f"data.sampler = {name!r} with data.ordered hears of samples from one group of trainers, and ranks.data = {case.ranks.data}: "
            "set it to 1, or leave data.ordered out"
        )
    if not made.scores:
        return made, None
    if not len(made.candidates()):
        raise ConfigError(
            f"data.sampler = {name!r} asks for scores and has no candidates: write its method candidates, or set scores to False"
        )
    equation = None if case.equation is None else partial(equation_of, case)
    return made, step_residual(spec, getattr(made, "residual", None), equation)
