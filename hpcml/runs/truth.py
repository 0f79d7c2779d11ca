"""What a roll-out starts from and is compared with: the solver of the case, or trajectories that are stored."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.core.case import Case, Dataset, Ranks, Simulation
from hpcml.core.errors import ConfigError
from hpcml.core.online_data import Online
from hpcml.data.mesh_space import mesh_rows
from hpcml.data.several_meshes import files_by_mesh
from hpcml.data.stored_pairs import StoredPairs, open_pairs
from hpcml.equations import build_equation
from hpcml.graphs.graph import Graph
from hpcml.graphs.shown_mesh import shown_mesh
from hpcml.io import Geometry
from hpcml.io.dataset import Meaning
from hpcml.io.dataset.on_mesh import OnMesh
from hpcml.online.samples_of import inputs_of
from hpcml.parallel.space import Space
from hpcml.runs.dtype_of import dtype_of
from hpcml.runs.equation_fields import simulated_meaning
from hpcml.runs.equation_space import coordinates_of, equation_space, geometry_of
from hpcml.runs.experiment import steps_in_time
from hpcml.runs.held_out_simulations import held_out_here
from hpcml.runs.online_simulations import fields_of
from hpcml.runs.simulation import snapshot_time, trajectories
from hpcml.runs.trajectory_writer import grid_geometry

MOST_STEPS = 1_000_000
"""Of a roll-out, whose times and errors every rank keeps."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Held-out trajectories, state by state.

    Attributes
    ----------
    space : Domain or Graph
        Where they live, on all ranks.
    geometry : Geometry
        The same for the files that show it.
    channels : tuple of str
        Names of what is predicted, the first of each state; those after them are given.
    times : tuple of float
        Time of each state.
    states : iterator of Tensor
        (trajectory, channel, *local_shape) on a grid, (trajectory, node, channel) on a mesh, each made or read when it is asked for.
    """

    space: Space
    geometry: Geometry
    channels: tuple[str, ...]
    times: tuple[float, ...]
    states: Iterator[Tensor]


def held_out_truth(case: Case, comm: MPI.Intracomm, steps: int, most: int | None = None, like: Meaning | None = None) -> Truth:
    """Begin at held-out states of a case.

    Parameters
    ----------
    case : Case
        Of a model that steps in time.
    comm : MPI.Intracomm
        All ranks, in any number.
    steps : int
        Steps of the model that there shall be a truth for.
    most : int, optional
        Trajectories, the first ones; by default all that are held out.
    like : Meaning, optional
        What the model was trained on, and what is stored must mean.

    Raises
    ------
    ConfigError, CheckpointError
        On every rank: the case does not step in time, or what is stored is too short or means something else.

    Communication
    -------------
    Collective over comm; stored states are read by each rank for itself.
    """
    if steps < 1 or (most is not None and most < 1):
        raise ConfigError(f"a roll-out has one step and one trajectory or more, got {steps} and {most}")
    if steps > MOST_STEPS:
        raise ConfigError(f"a roll-out has {MOST_STEPS} steps at most, got {steps}: take fewer, or a model of longer ones")
    if not steps_in_time(case):
        raise ConfigError("this is no run of a model that steps in time, from fields to the same fields: see `hpcml evaluate`")
    ranks = case.ranks.model_copy(update={"domain": "auto", "data": 1})
    if isinstance(case.data, Online):
        return _held_out(case, case.data, comm, steps, most)
    if isinstance(case.data, Dataset):
        return _stored(case, case.data, ranks, comm, steps, most, like)
    assert isinstance(case.data, Simulation) and case.equation is not None
    equation = build_equation(case.equation)
    space = equation_space(equation, case.grid, ranks, comm)
    if like is not None:
        like.check(simulated_meaning(equation, space, case.data))
    count = min(case.data.held_out, most or case.data.held_out)
    samples = range(case.data.trajectories, case.data.trajectories + count)
    times = tuple(snapshot_time(case.data, step) for step in range(steps + 1))
    states = trajectories(equation, case.data, space, samples, steps + 1, solver=case.solver)
    channels = equation.channels(coordinates_of(equation, case.grid))
    predicted = tuple(name for name in channels if name not in equation.given)
    return Truth(space, geometry_of(space), predicted, times, (state.to(dtype_of(case)) for state in states))


def _held_out(case: Case, data: Online, comm: MPI.Intracomm, steps: int, most: int | None) -> Truth:
    """Simulations that were held out while others were learned from; a state is followed by the parameters, which are given."""
    longer = case.model_copy(update={"data": data.model_copy(update={"steps": steps + 1})})
    held_out, space = held_out_here(longer, comm, most)
    parameters, times = torch.from_numpy(held_out.parameters), torch.zeros(held_out.count)

    def states() -> Iterator[Tensor]:
        for state in held_out.states(steps + 1):
            yield inputs_of(state.to(space.device), parameters, times, space, state.dtype)
        held_out.close()

    return Truth(space, geometry_of(space), fields_of(case), tuple(data.interval * step for step in range(steps + 1)), states())


def _stored(case: Case, data: Dataset, ranks: Ranks, comm: MPI.Intracomm, steps: int, most: int | None, like: Meaning | None) -> Truth:
    if not data.test:
        raise ConfigError("the case names no trajectories that were held out: roll out from data.test, which is empty")
    path = next(iter(files_by_mesh(data.test[0], comm)), data.test[0])
    pairs = open_pairs(path, data, case.grid, ranks, comm, dtype_of(case), like)
    space, stride = pairs.dataset.description, pairs.stride
    there = (space.num_times - 1) // stride
    if steps > there:
        raise ConfigError(
            f"{data.test[0]} has {space.num_times} times, enough to compare {there} steps of data.stride = {stride}, got {steps}: "
            f"take --steps {there}"
        )
    if varying := [entry.name for entry in pairs.meaning.conditions if entry.varies_in_time]:
        raise ConfigError(
            f"{data.test[0]}: {', '.join(varying)} are inputs that vary in time and are not predicted: nothing can go on from there"
        )
    count = min(space.num_trajectories, most or space.num_trajectories)
    times = tuple(space.times[step * stride] for step in range(steps + 1))
    states = _read(pairs, range(count), range(0, steps * stride + 1, stride))
    return Truth(pairs.space, _geometry(pairs, Path(path)), pairs.target_names, times, states)


def _geometry(pairs: StoredPairs, path: Path) -> Geometry:
    space, mesh = pairs.space, pairs.dataset.description
    if isinstance(space, Graph) and isinstance(mesh, OnMesh):
        return shown_mesh(space, mesh_rows(path, mesh, space.comm).cells)
    return grid_geometry(pairs.domain)


def _read(pairs: StoredPairs, trajectories: range, times: range) -> Iterator[Tensor]:
    """Give the states, then close the files."""
    try:
        yield from pairs.states(trajectories, times)
    finally:
        pairs.close()
