"""The simulations of a case that learns while they run: the user's own, or those of its equation."""

import torch

from hpcml.core.case import Case, Simulation
from hpcml.core.errors import ConfigError
from hpcml.core.online_data import Online
from hpcml.equations import Equation, build_equation
from hpcml.fields.domain import Domain
from hpcml.online.simulations import Make, own_simulations
from hpcml.online.states import states_of
from hpcml.runs.simulation import trajectories


def make_simulations(case: Case, domain: Domain, dtype: torch.dtype) -> Make:
    """Simulations of a case on a domain.

    Those of an equation start from states that depend on number and seed alone; parameters are options that the equation has.

    Raises
    ------
    ConfigError
        As `hpcml.online.simulations.own_simulations`; for an equation that has no states in time on a grid, or not these options.

    Communication
    -------------
    Local; that of a simulation is its own.
    """
    spec = _spec_of(case)
    if spec.simulation is not None:
        return own_simulations(spec, domain, dtype)
    data = _trajectory(spec)
    equation_of(case, tuple(low for low, _ in spec.parameters.values())).check(domain)

    def make(number, parameters):  # type: ignore[no-untyped-def]
        states = trajectories(
            equation_of(case, parameters), data, domain, range(number, number + 1), spec.steps, shown=False, solver=case.solver
        )
        return states_of((state[0] for state in states), len(fields_of(case)), domain.local_shape, spec.steps, dtype)

    return make


def fields_of(case: Case) -> tuple[str, ...]:
    """Names of the channels of a state.

    Communication
    -------------
    Local.
    """
    spec = _spec_of(case)
    if spec.simulation is not None or case.grid is None:
        return spec.fields
    return equation_of(case, tuple(low for low, _ in spec.parameters.values())).channels(len(case.grid.shape))


def channels_of_online(case: Case) -> tuple[int, int]:
    """Channels of an input and of a target.

    Communication
    -------------
    Local.
    """
    spec, state = _spec_of(case), len(fields_of(case))
    return len(spec.parameters) + (state if spec.inputs == "state" else 1), state


def _spec_of(case: Case) -> Online:
    assert isinstance(case.data, Online)
    return case.data


def _trajectory(spec: Online) -> Simulation:
    return Simulation(kind="simulation", interval=spec.interval, spin_up=spec.spin_up, seed=spec.seed)


def equation_of(case: Case, parameters: tuple[float, ...]) -> Equation:
    """The equation of a case with some parameters of one of its simulations.

    Raises
    ------
    ConfigError
        As `make_simulations`.

    Communication
    -------------
    Local.
    """
    assert case.equation is not None
    spec = _spec_of(case)
    if unknown := [name for name in spec.parameters if name not in case.equation.options]:
        raise ConfigError(f"data.parameters.{unknown[0]}: the equation {case.equation.name!r} has no such option, see hpcml config show")
    chosen = case.equation.model_copy(update=dict(zip(spec.parameters, parameters, strict=True)))
    equation = build_equation(chosen)
    if equation.steady or equation.on_mesh or equation.given:
        raise ConfigError(
            f"data.kind = 'online' is for equations that change in time on a grid, and {type(equation).__name__} is none: simulate before "
            "training, with data.kind = 'simulation' and hpcml train"
        )
    return equation
