"""Dropout whose mask belongs to the global field, not to a rank."""

from collections.abc import Callable

import numpy as np
import torch
from mpi4py import MPI
from torch import Tensor, nn

from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.parameters import share_parameters
from hpcml.models.layers.reach import check_field
from hpcml.mpi.seeds import uniform
from hpcml.parallel.space import Space


@numbered
class Dropout(nn.Dropout):
    """In training, zero each entry with probability p and divide the others by 1 - p; the same entries on any number of ranks.

        y_i = x_i [u_i >= p] / (1 - p)        u_i = uniform(seed, call number, global index i)

    Parameters
    ----------
    space : Space
        Where the fields live.
    p, inplace
        As in `torch.nn.Dropout`.

    Attributes
    ----------
    seed, calls : Tensor
        Buffers: the layer's own seed, drawn from torch's generator at construction, and how often it was called in training. They are in
        the state dict, so that a run that comes back from a checkpoint goes on with the next mask.

    Raises
    ------
    ShapeError
        For a tensor that is not this rank's block.

    Communication
    -------------
    Local. With data groups one all-gather of a number, since groups may hold different numbers of samples.

    Notes
    -----
    `torch.nn.Dropout` draws other numbers: equal to it in distribution only. Masks do not depend on dtype or device.
    """

    seed: Tensor
    calls: Tensor

    def __init__(self, space: Space, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__(p, inplace)
        self.space = space
        self.register_buffer("seed", torch.randint(2**62, ()))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        share_parameters(self, space.world_comm)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Dropout":
        """Its two numbers are keys that Python reads at every call: on a GPU that would wait for all work before it."""
        return self

    def forward(self, input: Tensor) -> Tensor:
        """Field with entries dropped, or the field itself in `eval`."""
        check_field(input, self.space)
        if not self.training or self.p == 0:
            return input
        self.calls += 1
        u = uniform(int(self.seed), ("dropout", int(self.calls)), self._global_index(input))
        factor = (u >= self.p).to(input.dtype).mul_(1 / (1 - self.p) if self.p < 1 else 0)
        return input.mul_(factor) if self.inplace else input * factor

    def _global_index(self, x: Tensor) -> Tensor:
        space = self.space
        num_samples, num_channels = space.channels_first(x).shape[:2]
        index = space.global_index((num_samples, num_channels))
        if space.num_data > 1:
            samples = np.empty(space.world_comm.size, dtype=np.int64)
            space.world_comm.Allgather(np.array([num_samples]), [samples, MPI.INT64_T])
            before = int(samples[: space.data_index * space.comm.size : space.comm.size].sum())
            index += (before - space.data_index * num_samples) * num_channels * space.num_points_global
        return space.as_field(index, x)
