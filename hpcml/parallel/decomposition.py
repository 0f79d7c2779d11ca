"""What all spaces on the same ranks have in common: communicators, and the plans made for them."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import torch
from mpi4py import MPI

from hpcml.core.errors import ConfigError, TopologyError
from hpcml.mpi.call import user_line
from hpcml.mpi.device import bound_device, choose_device
from hpcml.mpi.patient_comm import patient

if TYPE_CHECKING:
    from hpcml.mpi.world import World


@dataclass(slots=True)
class Decomposition:
    """Communicators of a decomposition, everything that communicates over them, and its spaces, by what tells them apart.

    Attributes
    ----------
    comm : MPI.Intracomm
        Ranks that share one field.
    world_comm : MPI.Intracomm
        All ranks that train one model.
    num_data, data_index : int
        Groups of ranks with fields of their own, and this rank's group.
    owned_comms : list of MPI.Intracomm
        To be freed with it.
    device : torch.device
        Where this rank computes.
    spaces : dict
        Resolutions and process grids of one box, for example.
    barred : str
        Why nobody may communicate over it now, if so.
    layers : dict of str to int
        How many of each kind were built.
    same_bits : bool or int
        Whether its spaces have tiles, or how many they have.
    schedule : object, optional
        When ghosts of its graphs travel, see `hpcml.graphs.schedule`.
    """

    comm: MPI.Intracomm
    world_comm: MPI.Intracomm
    num_data: int = 1
    data_index: int = 0
    owned_comms: list[MPI.Intracomm] = field(default_factory=list)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    spaces: dict[Hashable, Any] = field(default_factory=dict)
    barred: str = ""
    layers: dict[str, int] = field(default_factory=dict)
    same_bits: bool | int = False
    schedule: Any = None
    _plans: dict[Hashable, Any] = field(default_factory=dict)
    _numbers: dict[Hashable, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls, world: "World | MPI.Intracomm", data: int = 1, device: torch.device | str | None = None, same_bits: bool | int = False
    ) -> "Decomposition":
        """Cut all ranks into groups that each share fields of their own.

        Parameters
        ----------
        world : World or MPI.Intracomm
            All ranks.
        data : int
            Number of groups.
        device : torch.device or str, optional
            Where this rank computes; default that of the world; of a communicator, the GPU that this process has bound, else the CPU.
        same_bits : bool or int
            Whether spaces are cut into tiles, or into how many; see `hpcml.parallel.tiles`. It then has a communicator of its own.

        Raises
        ------
        TopologyError
            On every rank, if the groups would not be of equal size, or there are several and tiles.
        DeviceError
            For a device that is not there.

        Communication
        -------------
        Collective over world when ``data`` is above 1 (one communicator split) or with tiles, else local.
        """
        bound = bound_device() if isinstance(world, MPI.Intracomm) else world.device
        world_comm = patient(world if isinstance(world, MPI.Intracomm) else world.comm)
        device, index = choose_device(device, bound), world_comm.rank // group_size(world_comm.size, data)
        if same_bits:
            if data > 1:
                raise TopologyError(f"same_bits: {data} groups of ranks share batches, whose sums go in the order of groups: use data=1")
            own = world_comm.Dup()
            return cls(own, own, owned_comms=[own], device=device, same_bits=same_bits)
        if data == 1:
            return cls(world_comm, world_comm, device=device)
        comm = world_comm.Split(index, world_comm.rank)
        return cls(comm, world_comm, data, index, [comm], device)

    @classmethod
    def alone(cls, device: torch.device) -> "Decomposition":
        """For the calling rank alone."""
        return cls(MPI.COMM_SELF, MPI.COMM_SELF, device=device)

    def open(self) -> "Decomposition":
        """Itself, unless it is barred.

        Raises
        ------
        ConfigError
            If it is, with the line of the caller's code.
        """
        if self.barred:
            raise ConfigError(
                f"{self.barred}{user_line()}: a lambda or function holds it, or a layer built on it, where it cannot be found: keep it as "
                "an attribute of a module"
            )
        return self

    def number(self, kind: str) -> str:
        """Name of the next layer of a kind."""
        self.layers[kind] = self.layers.get(kind, 0) + 1
        return f"{kind} {self.layers[kind]}"

    def once(self, key: Hashable, make: Callable[[int], Any]) -> Any:
        """What ``make`` gives at the first call with a key; it gets a number, the same on all ranks, that it may
        give its exchange, and the next one too."""
        plan = self._plans.get(key)
        if plan is None:
            taken = set(self._numbers.values())
            self._numbers[key] = next(number for number in count(0, 2) if number not in taken)
            plan = self._plans[key] = make(self._numbers[key])
        return plan

    def release(self, key: Hashable) -> None:
        """Close what `once` has made, so that it is made anew, and others may have its number."""
        if key in self._plans:
            self._plans.pop(key).close()
            del self._numbers[key]

    def forget(self) -> None:
        """Close all that `once` has made, and let all spaces go, so that they are made anew."""
        for key in list(self._plans):
            self.release(key)
        self.spaces.clear()

    def close(self) -> None:
        """Close all plans and free the communicators that are its own."""
        for plan in self._plans.values():
            plan.close()
        self._plans.clear()
        self._numbers.clear()
        while self.owned_comms:
            self.owned_comms.pop().Free()


def group_size(num_ranks: int, data: int) -> int:
    """Ranks in each of ``data`` groups.

    Raises
    ------
    TopologyError
        If they would not be of equal size.

    Communication
    -------------
    Local.
    """
    if data < 1 or num_ranks % data:
        raise TopologyError(f"{num_ranks} ranks cannot be cut into {data} groups of equal size: choose a divisor of {num_ranks}")
    return num_ranks // data
