"""A trained model, for whatever comes after training."""

from collections.abc import Sequence
from pathlib import Path

import torch
from mpi4py import MPI
from torch import nn

from hpcml.core.errors import CheckpointError, ConfigError
from hpcml.fields.decompose import decompose
from hpcml.fields.grid import Grid
from hpcml.io.dataset import Meaning
from hpcml.mpi.call import named_call
from hpcml.mpi.world import World, world
from hpcml.runs.evaluation import trained
from hpcml.runs.experiment import load_surrogate
from hpcml.runs.run_directory import RunDirectory


@named_call
def load(
    folder: str | Path,
    model: nn.Module | None = None,
    *,
    shape: Sequence[int] | None = None,
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
    comm : World or MPI.Intracomm, optional
        The ranks that share a field, default all.
    device : torch.device or str, optional
        Where it computes, default the device that this rank has bound.

    Returns
    -------
    Module
        In evaluation mode, from this rank's blocks of fields in the data's units to such blocks. Built from a case, its attribute
        ``domain`` scatters and gathers them.

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
    >>> later = surrogate.domain.gather(surrogate(surrogate.domain.scatter(field)))  # doctest: +SKIP
    """
    directory, ranks = RunDirectory(Path(folder)), world() if comm is None else comm
    intracomm = ranks.comm if isinstance(ranks, World) else ranks
    if model is None and not directory.config.exists():
        raise ConfigError(f"{folder} has no config.toml that says how its model is built: make the model, and give it as model=")
    state, meaning = trained(directory, intracomm)
    if model is None:
        case = directory.case()
        grid = Grid(case.grid.shape, case.grid.extent, case.grid.periodic) if case.grid is not None else _grid_of(meaning, directory)
        where = grid if shape is None else Grid(tuple(shape), grid.extent, grid.periodic)
        return load_surrogate(case, decompose(where, ranks, device=device), state)
    if shape is not None or device is not None:
        raise ConfigError("shape= and device= are the model's own where model= is given")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{directory.checkpoints} is of another model: {error}") from None
    return model.eval()


def _grid_of(meaning: Meaning | None, directory: RunDirectory) -> Grid:
    """Where the data lay that a model has learned from."""
    if meaning is None:
        raise ConfigError(f"{directory.path} says nothing of the grid of its data: give the model as model=")
    axes = meaning.axes
    extent = tuple(axis.extent if axis.located else 1.0 for axis in axes)
    return Grid(tuple(axis.cells for axis in axes), extent, tuple(axis.boundary == "periodic" for axis in axes))
