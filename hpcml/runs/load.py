"""A trained model, for whatever comes after training."""

from collections.abc import Sequence
from pathlib import Path

import torch
from mpi4py import MPI
from torch import nn

from hpcml.core.case import Dataset, Simulation
from hpcml.core.errors import CheckpointError, ConfigError
from hpcml.data.mesh_space import graph_of
from hpcml.data.several_meshes import files_by_mesh
from hpcml.equations import build_equation
from hpcml.fields.decompose import decompose
from hpcml.fields.grid import Grid
from hpcml.io.dataset import Meaning, open_dataset
from hpcml.io.dataset.on_mesh import OnMesh
from hpcml.mpi.call import named_call
from hpcml.mpi.world import World, world
from hpcml.runs.equation_space import equation_space
from hpcml.runs.evaluation import trained
from hpcml.runs.experiment import load_surrogate
from hpcml.runs.run_directory import RunDirectory


@named_call
def load(
    folder: str | Path,
    model: nn.Module | None = None,
    *,
    shape: Sequence[int] | None = None,
    mesh: str | Path | None = None,
    comm: World | MPI.Intracomm | None = None,
    device: torch.device | str | None = None,
) -> nn.Module:
    """Load the model of a run, on any number of ranks and at any resolution that it can be built for.

    Parameters
    ----------
    folder : path
        Run directory, of `hpcml train` or of a `hpcml.training.Trainer`.
    model : Module, optional
        Gets the trained state; needed where the run has no case that says how to build it.
    shape : sequence of int, optional
        Cells along each dim of the whole grid, default those of training.
    mesh : path, optional
        Dataset whose mesh it is to compute on, default that of training, for a model of meshes.
    comm : World or MPI.Intracomm, optional
        The ranks that share a field, default all.
    device : torch.device or str, optional
        Where it computes, default the device that this rank has bound.

    Returns
    -------
    Module
        In evaluation mode, from this rank's parts of fields in the data's units to such parts. Built from a case, its attribute ``space``
        scatters and gathers them.

    Raises
    ------
    ConfigError, CheckpointError
        On every rank: no such run, no checkpoint yet, the state of another model, or no mesh that it can compute on.

    Communication
    -------------
    Collective over comm; each rank reads the checkpoint.

    Examples
    --------
    >>> surrogate = load("runs/turbulence", shape=(256, 256))  # doctest: +SKIP
    >>> later = surrogate.space.gather(surrogate(surrogate.space.scatter(field)))  # doctest: +SKIP
    """
    directory, ranks = RunDirectory(Path(folder)), world() if comm is None else comm
    intracomm = ranks.comm if isinstance(ranks, World) else ranks
    if model is None and not directory.config.exists():
        raise ConfigError(f"{folder} has no config.toml that says how its model is built: make the model, and give it as model=")
    state, meaning = trained(directory, intracomm)
    if model is None:
        case = directory.case()
        where_to = case.ranks.model_copy(update={"data": 1})
        simulated = isinstance(case.data, Simulation) and case.grid is None  # on a mesh of the equation
        if meaning is not None and (meaning.mesh or simulated):
            if shape is not None:
                raise ConfigError(f"shape={tuple(shape)} is for models of grids, and {folder} has learned on a mesh: take mesh=")
            if path := mesh or (case.data.path if isinstance(case.data, Dataset) else None):
                graph = graph_of(*_mesh_of(path, meaning, intracomm), case.grid, where_to, ranks, device=device)
                return load_surrogate(case, graph, state)
        if mesh is not None:
            raise ConfigError(f"mesh={mesh} is for models of meshes, and {folder} has learned on a grid: take shape=")
        if simulated and case.equation is not None:
            return load_surrogate(case, equation_space(build_equation(case.equation), None, where_to, ranks, device), state)
        grid = Grid(case.grid.shape, case.grid.extent, case.grid.periodic) if case.grid is not None else _grid_of(meaning, directory)
        where = grid if shape is None else Grid(tuple(shape), grid.extent, grid.periodic)
        return load_surrogate(case, decompose(where, ranks, device=device), state)
    if shape is not None or mesh is not None or device is not None:
        raise ConfigError("shape=, mesh= and device= are the model's own where model= is given")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{directory.checkpoints} is of another model: {error}") from None
    return model.eval()


def _mesh_of(path: str | Path, learned: Meaning, comm: MPI.Intracomm) -> tuple[Path, OnMesh]:
    """Dataset that has the mesh to compute on, and what it holds: one of as many dims, in the same units, as a model has learned on."""
    try:
        path = next(iter(files_by_mesh(str(path), comm)), path)
        with open_dataset(path, comm) as dataset:
            found = dataset.description
    except CheckpointError as error:
        raise CheckpointError(f"{error}; it has the mesh that the model would compute on: name any dataset on a mesh by mesh=") from None
    if not isinstance(found, OnMesh):
        raise ConfigError(f"{path} lies on a grid, and the model has learned on a mesh: name a dataset on a mesh by mesh=")
    pairs = list(zip(learned.axes, found.axes, strict=False))
    alike = all(here.name == there.name and (not here.unit or not there.unit or here.unit == there.unit) for here, there in pairs)
    if len(learned.axes) != len(found.axes) or not alike:
        there, here = (", ".join(f"{axis.name} {axis.unit}".strip() for axis in axes) for axes in (found.axes, learned.axes))
        raise ConfigError(f"the mesh of {path} has the dims {there}, and the model has learned on one of {here}: take another mesh")
    return Path(path), found


def _grid_of(meaning: Meaning | None, directory: RunDirectory) -> Grid:
    """Where the data lay that a model has learned from."""
    if meaning is None:
        raise ConfigError(f"{directory.path} says nothing of the grid of its data: give the model as model=")
    axes = meaning.axes
    extent = tuple(axis.extent if axis.located else 1.0 for axis in axes)
    return Grid(tuple(axis.cells for axis in axes), extent, tuple(axis.boundary == "periodic" for axis in axes))
