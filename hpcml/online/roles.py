"""Who trains and who simulates: the ranks of one job in two roles."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from mpi4py import MPI

from hpcml.core.case import Case
from hpcml.core.errors import TopologyError
from hpcml.mpi.world import World
from hpcml.parallel.layout import Layout


@dataclass(frozen=True, slots=True)
class Roles:
    """The ranks of a job: first those that train, then groups that each share a simulation.

        0 ... trainers - 1 | group 0: per_simulation ranks | group 1 | ...

    Attributes
    ----------
    comm : MPI.Intracomm
        All of them, for what goes from simulations to trainers.
    trainers, per_simulation : int
        Ranks that train, and ranks of each group.
    num_groups : int
        Groups that simulate.
    group : int or None
        This rank's; None where it trains.
    own : World
        All trainers, or the ranks of this rank's group.

    Communication
    -------------
    Building and closing are collective over all ranks.
    """

    comm: MPI.Intracomm
    trainers: int
    per_simulation: int
    num_groups: int
    group: int | None
    own: World

    @classmethod
    def of(cls, world: World, case: Case) -> Self:
        """Split a job as its case says.

        Raises
        ------
        TopologyError
            On every rank, if nobody would simulate, or a group would be incomplete.
        """
        trainers, each = case.ranks.trainers, case.ranks.per_simulation
        left = world.size - trainers
        if left < each or left % each:
            need = f"{trainers} that train, and {each} for each simulation that runs at a time"
            raise TopologyError(
                f"{world.size} ranks cannot be {need}: start {trainers + each * max(1, left // each)} ranks, or change ranks.trainers or "
                "ranks.per_simulation"
            )
        group = None if world.rank < trainers else (world.rank - trainers) // each
        part = world.comm.Split(0 if group is None else 1 + group, world.rank)
        own = World(part)
        return cls(world.comm.Dup(), trainers, each, left // each, group, own)

    @property
    def trains(self) -> bool:
        """Whether this rank trains."""
        return self.group is None

    def first_of(self, group: int) -> int:
        """First rank of a group that simulates."""
        return self.trainers + group * self.per_simulation

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:  # the other ranks may never come to a collective Free
            self.own.close()
            self.comm.Free()


@dataclass(frozen=True, slots=True)
class Places:
    """Where the blocks of a state lie: on a group that simulates, and on a group of trainers.

    Attributes
    ----------
    shape : tuple of int
        Cells of the grid.
    simulated, trained : tuple of int
        Process grids of a simulation and of the trainers that share a field.
    """

    shape: tuple[int, ...]
    simulated: tuple[int, ...]
    trained: tuple[int, ...]

    def layouts(self, first_simulates: int, first_trains: int) -> tuple[Layout, Layout]:
        """Blocks of a group that simulates and of one that trains, by the first rank of each."""
        chosen: Sequence[tuple[tuple[int, ...], int]] = ((self.simulated, first_simulates), (self.trained, first_trains))
        simulated, trained = (replace(Layout.blocks(self.shape, dims), first_rank=first) for dims, first in chosen)
        return simulated, trained
