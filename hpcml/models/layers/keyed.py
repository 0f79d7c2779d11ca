"""Random numbers of a layer that belong to the global field, not to a rank."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from hpcml.models.layers.parameters import share_parameters
from hpcml.mpi.seeds import uniform
from hpcml.parallel.samples_before import samples_before
from hpcml.parallel.space import Space


class Keyed(nn.Module):
    """What draws random numbers for a field, the same on any number of ranks.

        u_i = uniform(seed, (stream, call number), global index i)

    Attributes
    ----------
    seed, calls : Tensor
        Buffers: the layer's own seed, drawn from torch's generator at construction, and how often it has drawn. They are in the state dict,
        so that a run that comes back from a checkpoint goes on with the next numbers.
    """

    seed: Tensor
    calls: Tensor

    def key(self, space: Space) -> Self:
        """Draw the seed, the same on all ranks of a space.

        Communication
        -------------
        Collective over space.world_comm: two broadcasts of a number.
        """
        self.space = space
        self.register_buffer("seed", torch.randint(2**62, ()))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        share_parameters(self, space.world_comm)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Its two numbers are keys that Python reads at every call: on a GPU that would wait for all work before it."""
        return self

    def draw(self, stream: str, samples: int, channels: int) -> Tensor:
        """Numbers 0 <= u < 1, float32, (sample, channel, *local_shape), others at every call.

        Communication
        -------------
        Local. With data groups one all-gather of a number, since groups may hold different numbers of samples.
        """
        self.calls += 1
        return uniform(int(self.seed), (stream, int(self.calls)), self._global_index(samples, channels))

    def _global_index(self, samples: int, channels: int) -> Tensor:
        space = self.space
        index = space.global_index((samples, channels))
        before = samples_before(space, samples)[0] - space.data_index * samples
        if before:
            index = index + before * channels * space.num_points_global
        return index
