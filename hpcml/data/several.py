"""Samples on several spaces: meshes of different size, and trajectories on each."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from itertools import accumulate

from mpi4py import MPI
from torch import Tensor

from hpcml.core.errors import ConfigError
from hpcml.data.samples import Samples
from hpcml.data.schedule import Batch
from hpcml.data.stream import Taken
from hpcml.parallel.decomposition import Decomposition
from hpcml.parallel.space import Space


class Several(Samples):
    """Samples of one kind on spaces of their own, numbered one after the other.

    Ranks are cut into groups. Those of a group share every space; the groups take different samples of an update, such that each has about
    as many nodes and edges to compute on. A model on them is made by `hpcml.models.on_spaces`.

    Parameters
    ----------
    parts : sequence of Samples
        Each on a space of the ranks of this group; some may have one space.
    world : MPI.Intracomm
        All ranks, in the order of their groups, which are of one size.
    shared : Decomposition, optional
        Of the group, to be closed with the samples; their spaces then are too.

    Attributes
    ----------
    space : Space
        The first.
    num_data, data_index : int
        Groups, and this rank's.

    Raises
    ------
    ConfigError
        For parts of other channels than the first, or spaces of several groups or of other ranks.

    Communication
    -------------
    Local. Taking samples: as their part.
    """

    def __init__(self, parts: Sequence[Samples], world: MPI.Intracomm, shared: Decomposition | None = None) -> None:
        self.parts, self.space, self._world, self._shared = tuple(parts), parts[0].space, world, shared
        size = self.space.comm.size
        for part in parts:
            if part.num_channels != parts[0].num_channels:
                raise ConfigError(f"samples that are learned from together have channels {parts[0].num_channels}, got {part.num_channels}")
            if part.space.num_data > 1 or part.space.comm.size != size or world.size % size:
                raise ConfigError("samples on several spaces: deal each space to the ranks of one group alone, all groups of one size")
        self.num_data, self.data_index = world.size // size, world.rank // size
        self._ends = list(accumulate(part.num_samples for part in parts))
        known = [part.meaning for part in parts if part.meaning is not None]
        meshes = blake2b(" ".join(meaning.mesh for meaning in known).encode(), digest_size=8).hexdigest()
        self.meaning = replace(known[0], mesh=meshes) if known else None

    @property
    def world_comm(self) -> MPI.Intracomm:
        return self._world

    @property
    def groups(self) -> tuple[int, int]:
        return self.num_data, self.data_index

    @property
    def spaces(self) -> list[Space]:
        return list({id(part.space): part.space for part in self.parts}.values())

    @property
    def costs(self) -> list[int]:
        each = [part.space.num_points_global + getattr(part.space, "num_edges_global", 0) for part in self.parts]
        return [cost for cost, part in zip(each, self.parts, strict=True) for _ in range(part.num_samples)]

    @property
    def num_samples(self) -> int:
        return self._ends[-1]

    @property
    def num_channels(self) -> tuple[int, int]:
        return self.parts[0].num_channels

    def take(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        found = list(self._by_part(samples))
        if len(found) != 1:
            raise ConfigError("these samples lie on several spaces: take those of one, or go through them by `taken`")
        ((part, numbers, _),) = found
        return part.take(numbers)

    def taken(self, batch: Batch) -> Iterator[Taken]:
        for part, numbers, given in self._by_part(batch.samples):
            share = (*part.take(numbers), batch.weight * len(numbers) / batch.of)
            yield Taken.of(share, given.tolist(), part.space)

    def typical(self) -> tuple[Tensor, Tensor]:
        return self.parts[0].typical()

    def typical_on_each(self) -> list[tuple[Space, Tensor, Tensor]]:
        return [found for part in self.parts for found in part.typical_on_each()]

    def expect(self, samples: Tensor) -> None:
        for part, numbers, _ in self._by_part(samples):
            part.expect(numbers)

    def close(self) -> None:
        for part in self.parts:
            part.close()
        if self._shared is not None:
            for space in self.spaces:
                space.close()
            self._shared.close()

    def _by_part(self, samples: Tensor) -> Iterator[tuple[Samples, Tensor, Tensor]]:
        """Of each part that has some: their numbers in it, and among all."""
        first = 0
        for part, end in zip(self.parts, self._ends, strict=True):
            chosen = samples[(samples >= first) & (samples < end)]
            if len(chosen):
                yield part, chosen - first, chosen
            first = end
