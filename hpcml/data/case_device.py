"""Where the ranks of a case compute."""

import torch
from mpi4py import MPI

from hpcml.core.case import Ranks
from hpcml.mpi.agreement import raise_together
from hpcml.mpi.device import bind_device, bound_device, choose_device
from hpcml.mpi.world import World


def bind_case(ranks: Ranks, world: World) -> torch.device:
    """Bind the GPU of this rank, if the case may compute on one, and say where it computes.

    Raises
    ------
    DeviceError
        On every rank, if it is to compute on GPUs and a rank has none.

    Communication
    -------------
    Collective over world.comm for ``device = "cuda"``, else local.
    """
    if ranks.device != "cpu":
        bind_device(world.local_rank)
    return case_device(ranks, world.comm)


def case_device(ranks: Ranks, comm: MPI.Intracomm) -> torch.device:
    """Where a case computes in a process that has bound its device; otherwise as `bind_case`.

    Communication
    -------------
    That of `bind_case`.
    """
    if ranks.device == "auto":
        return bound_device()
    with raise_together(comm):
        device = choose_device(ranks.device, bound_device())
    return device
