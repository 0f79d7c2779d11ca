"""Begin with what another run has learned, and keep parts of it as they are."""

import logging
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from mpi4py import MPI
from torch import nn

from hpcml.core.errors import ConfigError
from hpcml.mpi.call import named_call
from hpcml.runs.evaluation import trained
from hpcml.runs.run_directory import RunDirectory

_log = logging.getLogger(__name__)


@named_call
def take_over(model: nn.Module, folder: str, comm: MPI.Intracomm) -> None:
    """Give a model those values of a run's trained one that have its names and shapes, the units of its data included.

    Parameters
    ----------
    model : Module
        Changed in place; what the other lacks, or has of another shape, stays as it is, and this is said.
    folder : str
        Run directory.
    comm : MPI.Intracomm
        All ranks.

    Raises
    ------
    ConfigError, CheckpointError
        On every rank: no such run, no checkpoint, or nothing of the model in it.

    Communication
    -------------
    Collective over comm; each rank reads the checkpoint.
    """
    state, _ = trained(RunDirectory(Path(folder)), comm)
    own = model.state_dict()
    same = {name: value for name, value in state.items() if name in own and value.shape == own[name].shape}
    if not any(name in dict(model.named_parameters()) for name in same):
        raise ConfigError(f"training.init_from: the model in {folder} has no parameter of a name and shape of this one")
    model.load_state_dict(same, strict=False)
    left = sorted(own.keys() - same.keys())
    rest = f"; as they were made: {', '.join(left)}" if left else ""
    _log.info("begun with %d of %d tensors of %s%s", len(same), len(own), folder, rest)


def freeze(model: nn.Module, patterns: Iterable[str]) -> None:
    """Ask for no gradient of parameters whose name is like one of some patterns.

    Raises
    ------
    ConfigError
        For a pattern that no parameter is like, and where nothing is left to learn.

    Communication
    -------------
    Local.
    """
    parameters = dict(model.named_parameters())
    for pattern in patterns:
        chosen = [name for name in parameters if fnmatchcase(name, pattern)]
        if not chosen:
            raise ConfigError(f"training.freeze: no parameter is called like {pattern!r}; there are {', '.join(parameters)}")
        for name in chosen:
            parameters[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise ConfigError("training.freeze leaves no parameter that learns")
