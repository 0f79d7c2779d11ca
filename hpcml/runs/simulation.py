"""Pairs of fields from the numerical solver of a case's equation, the same on any number of ranks."""

import logging
import math
from collections.abc import Callable, Iterator

import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.core import case
from hpcml.core.errors import SolverError
from hpcml.core.options import Choice
from hpcml.core.progress import progress
from hpcml.data.samples import Pairs
from hpcml.equations import Equation, build_equation
from hpcml.fields.domain import Domain
from hpcml.graphs.graph import Graph
from hpcml.parallel.space import Space
from hpcml.runs.equation_space import coordinates_of, equation_space
from hpcml.solvers import build_solver

_log = logging.getLogger(__name__)

MOST_STEPS = 10_000_000
"""Of a solver between two snapshots: beyond it no run comes to its end."""


def simulate_pairs(spec: case.Case, comm: MPI.Intracomm, dtype: torch.dtype) -> tuple[Pairs, Pairs]:
    """Simulate the trajectories of a case and cut them into pairs of one state and the next, all in memory.

    Steady equations give one pair per sample: coefficient and solution.

    Returns
    -------
    train, held_out : Pairs
        On the domain of training.

    Raises
    ------
    ConfigError, SolverError
        On every rank, if the equation refuses the grid or the solution is no longer finite.

    Communication
    -------------
    Collective: all ranks together share the grid while simulating, whatever groups they train in.
    """
    data, grid, ranks = spec.data, spec.grid, spec.ranks
    assert isinstance(data, case.Simulation) and spec.equation is not None
    equation = build_equation(spec.equation)
    domain = equation_space(equation, grid, ranks, comm)
    together = domain if ranks.data == 1 else equation_space(equation, grid, case.Ranks(device=ranks.device), comm)
    sets: list[Pairs] = []
    for samples in (range(data.trajectories), range(data.trajectories, data.trajectories + data.held_out)):
        states = torch.stack(list(trajectories(equation, data, together, samples, data.snapshots, solver=spec.solver)), 1)
        inputs, targets = (
            _moved(field, together, domain, dtype) for field in _cut(equation, states, domain, coordinates_of(equation, grid))
        )
        sets.append(Pairs(domain, inputs, targets))
    if together is not domain:
        together.close()
    return sets[0], sets[1]


@torch.no_grad()
def trajectories(
    equation: Equation,
    data: case.Simulation,
    domain: Space,
    samples: range,
    snapshots: int,
    shown: bool = True,
    after_step: Callable[[], None] | None = None,
    solver: Choice | None = None,
) -> Iterator[Tensor]:
    """Trajectories of an equation, state by state.

    Parameters
    ----------
    equation : Equation
        What to solve.
    data : hpcml.core.case.Simulation
        Seed, spin-up and the time between snapshots.
    domain : Domain or Graph
        Where, on all of its ranks.
    samples : range
        Numbers of the trajectories, which start from states that depend on number and seed only, and share their steps.
    snapshots : int
        States of each; a steady equation has one.
    shown : bool
        Whether progress is.
    after_step : callable, optional
        Called after every step of the solver; it may end the simulation by an exception.
    solver : Choice, optional
        As `hpcml.solvers.build_solver` takes it.

    Yields
    ------
    Tensor
        float64, (sample, channel, *local_shape), or as the space has it.

    Raises
    ------
    ConfigError, SolverError
        On every rank: the equation refuses the grid, or no step that is not absurdly short is stable.

    Communication
    -------------
    Collective over domain.comm, as the solver.
    """
    state = equation.initial_state(domain, samples, data.seed)
    if equation.steady:
        yield build_solver(equation, domain, 0.0, solver).step(state)
        return
    spin_up = math.ceil(data.spin_up / data.interval)
    if spin_up and (steps := math.ceil(2 * _stable_steps(equation, domain, data.interval, state)) * spin_up) > MOST_STEPS:
        raise SolverError(
            f"{equation} needs {steps:.3g} steps for data.spin_up = {data.spin_up:g} in intervals of {data.interval:g}, and the most are "
            f"{MOST_STEPS}: take a shorter one, longer intervals or fewer cells"
        )
    with progress("snapshot", snapshots, shown=shown and domain.world_comm.rank == 0) as bar:
        for interval in range(1 - spin_up, snapshots + 1):
            if interval >= 1:
                bar.advance(interval, f"{len(samples)} trajectories of {type(equation).__name__}")
                yield state
            if interval < snapshots:
                state = _one_interval_on(equation, domain, data.interval, state, after_step, solver)


def snapshot_time(data: case.Simulation, step: int) -> float:
    """Time of state number ``step``: the first comes after the spin-up, which takes whole intervals."""
    return (math.ceil(data.spin_up / data.interval) + step) * data.interval


def _stable_steps(equation: Equation, domain: Space, interval: float, state: Tensor) -> float:
    """Longest stable steps in an interval."""
    return max(0.5, interval / equation.stable_step(domain, state))  # a fluid at rest would take a step of any length


def _one_interval_on(
    equation: Equation, domain: Space, interval: float, state: Tensor, after_step: Callable[[], None] | None, solver: Choice | None
) -> Tensor:
    """State one interval later, by equal steps of at most half the stable one, and of less where the flow gains speed on the way."""
    needed = _stable_steps(equation, domain, interval, state)
    for doublings in range(1, 10):
        steps = math.ceil(needed * 2**doublings)
        if steps > MOST_STEPS:
            points = " x ".join(map(str, domain.global_shape))
            raise SolverError(
                f"{equation} needs {steps:.3g} steps for data.interval = {interval:g} on {points} points, and the "
                f"most are {MOST_STEPS}: take a shorter interval, fewer cells, or milder coefficients"
            )
        try:
            *_, later = build_solver(equation, domain, interval / steps, solver).snapshots(state, steps, steps, after_step)
            return later
        except SolverError as error:
            reason = error
    raise SolverError(f"data.interval = {interval:g} is too long for this flow, even in {steps} steps: {reason}") from reason


def _cut(equation: Equation, states: Tensor, space: Space, num_dims: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets of (sample, time, channel, *local_shape), or as the space has it."""
    known = [name in equation.given for name in equation.channels(num_dims)]
    given, solved = ([place for place, k in enumerate(known) if k is which] for which in (True, False))
    chosen = lambda field, places: field.index_select(space.channel_dim, torch.tensor(places, device=field.device))  # noqa: E731
    if equation.steady:
        return chosen(states[:, 0], given), chosen(states[:, 0], solved)
    return states[:, :-1].flatten(0, 1), chosen(states[:, 1:].flatten(0, 1), solved)


def _moved(field: Tensor, source: Domain | Graph, target: Domain | Graph, dtype: torch.dtype) -> Tensor:
    """Blocks of one domain as those of another, one sample at a time, so that no rank holds many whole fields."""
    field = field.to(dtype)
    if source is target:
        return field.contiguous()
    return torch.stack([source.gather(sample)[target.index] for sample in field])
