"""Buffers that one stage of a pipeline has changed, and all others take over."""

import torch
from mpi4py import MPI
from torch import Tensor, nn

from hpcml.mpi.reductions import all_max
from hpcml.parallel.collectives import broadcast


class StageBuffers:
    """Running means, numbers of masks and the like, as they are before a forward pass.

    Parameters
    ----------
    network : Module
        Whose buffers these are.
    across : MPI.Intracomm
        One rank of each stage.

    Communication
    -------------
    `take_over`: one maximum of a number for each buffer, and a broadcast of each that was changed.
    """

    def __init__(self, network: nn.Module, across: MPI.Intracomm) -> None:
        self._across = across
        self._now = list(dict(network.named_buffers()).values()) if network.training else []
        self._before = [value.clone() for value in self._now]

    def take_over(self) -> None:
        """Give every stage what one has changed; what none has changed stays, whatever it holds."""
        if not self._now or self._across.size == 1:
            return
        changed = [not torch.equal(_bytes(a), _bytes(b)) for a, b in zip(self._now, self._before, strict=True)]
        owners = all_max(torch.tensor([self._across.rank if each else -1 for each in changed]), self._across)
        for value, owner in zip(self._now, owners.tolist(), strict=True):
            if owner >= 0:
                value.copy_(broadcast(self._across, value.detach().clone(), owner))


def _bytes(value: Tensor) -> Tensor:
    return value.detach().contiguous().reshape(-1).view(torch.uint8)
