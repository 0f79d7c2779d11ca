"""Gradients that groups of ranks have each for itself, made one."""

from contextlib import AbstractContextManager, nullcontext

import torch
from mpi4py import MPI
from torch import Tensor, nn

from hpcml.mpi.agreement import raise_together
from hpcml.parallel.replicated import sum_together
from hpcml.parallel.space import Space


class GroupSum:
    """Adds up what groups of ranks have computed on spaces of their own; nothing where losses are those of all groups already.

    Parameters
    ----------
    world : MPI.Intracomm
        All ranks that train.
    space : Space
        Of this rank's group.

    Communication
    -------------
    Collective over world, where there are several such groups: an agreement on errors, and one all-reduce per precision.
    """

    def __init__(self, world: MPI.Intracomm, space: Space) -> None:
        self._world, self._first = world, space.comm.rank == 0
        self._several = world.size > space.world_comm.size

    def agreed(self) -> AbstractContextManager[None]:
        """A block whose errors, those of one group, are raised on all ranks."""
        return raise_together(self._world) if self._several else nullcontext()

    def sum(self, model: nn.Module, loss: Tensor) -> Tensor:
        """Let every parameter, which all have a gradient, have the sum of the groups', and give that of their losses."""
        if not self._several:
            return loss
        wanted = [p for p in model.parameters() if p.requires_grad]
        every = [loss, *(p.grad for p in wanted if p.grad is not None)]  # the same on all ranks of a group, of which one gives it
        total, *gradients = sum_together(every if self._first else [torch.zeros_like(value) for value in every], self._world)
        for p, gradient in zip(wanted, gradients, strict=True):
            p.grad = gradient
        return total
