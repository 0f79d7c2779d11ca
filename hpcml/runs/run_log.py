"""The log of a run, in its directory."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from hpcml.core.log import rank_log
from hpcml.io.files.agree import together
from hpcml.mpi.world import World
from hpcml.runs.run_directory import RunDirectory


@contextmanager
def run_log(directory: RunDirectory, world: World, device: torch.device) -> Iterator[None]:
    """Log to the terminal, and to a file per rank of a run's directory, until the block ends.

    Parameters
    ----------
    directory : RunDirectory
        The run.
    world : World
        All ranks.
    device : torch.device
        Where this rank computes, for its lines.

    Raises
    ------
    CheckpointError
        On every rank, where one cannot open its file.

    Communication
    -------------
    Collective to begin: one byte if all is well. Then local.
    """
    with ExitStack() as stack:
        with together(world.comm, f"opening the log in {directory.log}"):
            stack.enter_context(rank_log(world.rank, world.size, str(device), directory.log))
        yield
