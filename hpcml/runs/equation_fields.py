"""The fields of an equation's state in the words of datasets."""

from collections.abc import Sequence
from dataclasses import replace

from hpcml.core import case
from hpcml.data.grid_axes import grid_axes
from hpcml.equations import Equation
from hpcml.fields.grid import Grid
from hpcml.io.dataset import Field, Meaning


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


def simulated_meaning(equation: Equation, grid: Grid, data: case.Simulation) -> Meaning:
    """What the pairs of a simulation mean: one state and the next, or the coefficient and the solution of a steady problem.

    Communication
    -------------
    Local.
    """
    fields: Sequence[Field] = equation_fields(equation, grid.num_dims)
    inputs = targets = tuple(fields)
    times = (0.0, data.interval)
    if equation.steady:
        inputs, targets = (tuple(f for f in fields if f.varies_in_time == varies) for varies in (False, True))
        times = (0.0, 0.0)
    return Meaning(inputs, targets, grid_axes(grid), times, source="the simulation of the case")
