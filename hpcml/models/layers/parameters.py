"""Parameters that every rank holds alike."""

import torch
from mpi4py import MPI
from torch import nn

from hpcml.parallel.collectives import broadcast


def share_parameters(module: nn.Module, comm: MPI.Comm) -> None:
    """Give every rank the initial parameters and buffers of rank 0, whatever seed the others had.

    Communication
    -------------
    Collective over comm: one broadcast per parameter and buffer.
    """
    if comm.size == 1:
        return
    with torch.no_grad():
        for value in (*module.parameters(), *module.buffers()):
            value.copy_(broadcast(comm, value))
