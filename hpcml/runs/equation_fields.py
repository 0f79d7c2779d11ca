"""The fields of an equation's state in the words of datasets."""

from dataclasses import replace

from hpcml.core import case
from hpcml.equations import Equation
from hpcml.io.dataset import Field, Meaning
from hpcml.parallel.space import Space
from hpcml.runs.equation_space import axes_of


def equation_fields(equation: Equation, num_dims: int) -> tuple[Field, ...]:
    """Fields of a state; channels called ``name_0`` to ``name_D-1`` are the components of a vector.

    Communication
    -------------
    Local.
    """
    channels = equation.channels(num_dims)
    fields: dict[str, Field] = {}
    for channel in channels:
        stem = channel.rpartition("_")[0]
        vector = bool(stem) and all(f"{stem}_{d}" in channels for d in range(num_dims))
        fields.setdefault(stem if vector else channel, Field(stem, 1) if vector else Field(channel))
    given = lambda field: any(channel in equation.given for channel in field.channels(num_dims))  # noqa: E731
    return tuple(replace(field, varies_in_time=not given(field)) for field in fields.values())


def simulated_meaning(equation: Equation, space: Space, data: case.Simulation) -> Meaning:
    """What the pairs of a simulation mean: one state, what is given and the next state, or what is given and the solution.

    Communication
    -------------
    Local.
    """
    axes = axes_of(space)
    inputs, targets = simulated_pair(equation, len(axes))
    times = (0.0, 0.0 if equation.steady else data.interval)
    return Meaning(inputs, targets, axes, times, source="the simulation of the case")


def simulated_pair(equation: Equation, num_dims: int) -> tuple[tuple[Field, ...], tuple[Field, ...]]:
    """Fields that go in and that come out.

    Communication
    -------------
    Local.
    """
    fields = equation_fields(equation, num_dims)
    given, solved = (tuple(f for f in fields if f.varies_in_time == varies) for varies in (False, True))
    return given if equation.steady else solved + given, solved
