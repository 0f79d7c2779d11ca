"""A trained model, for whatever comes after training."""

from collections.abc import Sequence
from pathlib import Path

import torch
from mpi4py import MPI
from torch import nn

from hpcml.core.case import Case, Dataset, Simulation
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
        On every rank: no such run, no checkpoint yet, or the state of another model.

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
        if (stored := _mesh_of(case, mesh, intracomm)) is not None:
            return load_surrogate(case, graph_of(*stored, case.grid, where_to, ranks, device=device), state)
        if mesh is not None:
            raise ConfigError(f"mesh={mesh} is for models of meshes, and {folder} has learned on a grid: take shape=")
        if isinstance(case.data, Simulation) and case.equation is not None and case.grid is None:
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


def _mesh_of(case: Case, mesh: str | Path | None, comm: MPI.Intracomm) -> tuple[Path, OnMesh] | None:
    """Dataset that has the mesh, and what it holds, if the case is one of meshes."""
    path = mesh or (case.data.path if isinstance(case.data, Dataset) and case.data.layout is None and case.grid is None else None)
    if path is None or not (mesh or Path(path).exists()):
        return None
    path = next(iter(files_by_mesh(str(path), comm)), path)
    with open_dataset(path, comm) as dataset:
        return (Path(path), dataset.description) if isinstance(dataset.description, OnMesh) else None


def _grid_of(meaning: Meaning | None, directory: RunDirectory) -> Grid:
    """Where the data lay that a model has learned from."""
    if meaning is None:
        raise ConfigError(f"{directory.path} says nothing of the grid of its data: give the model as model=")
    axes = meaning.axes
    extent = tuple(axis.extent if axis.located else 1.0 for axis in axes)
    return Grid(tuple(axis.cells for axis in axes), extent, tuple(axis.boundary == "periodic" for axis in axes))
