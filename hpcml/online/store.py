"""Where the samples of a buffer lie: this rank's cells of each, and what each is, place by place, in memory that is taken once."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.core.errors import ConfigError
from hpcml.core.free_memory import free_memory
from hpcml.fields.domain import Domain
from hpcml.io.checkpoint import Blocked
from hpcml.mpi.agreement import agree_on_error
from hpcml.mpi.patient_comm import patient
from hpcml.mpi.reductions import all_sum
from hpcml.topology.block import BlockRange, block_range


class Store:
    """Samples of one group of trainers.

    Parameters
    ----------
    domain : Domain
        Where fields live; its groups share the places in order.
    capacity : int
        Places of all groups.
    states : int
        States of a sample: 1, or 2 where it leads from one to the next.
    channels, parameters : int
        Of a state, and of a simulation.
    dtype : torch.dtype
        Of the fields.

    Attributes
    ----------
    fields : Tensor, (place, state, channel, *local_shape)
        On the device of the domain.
    simulation, sample : numpy.ndarray, int64, (place,)
        What lies there.
    parameters : Tensor, float64, (place, parameter)
        Of its simulation, on the host.

    Raises
    ------
    ConfigError
        On every rank, where a rank has too little memory for its part, and for a checkpoint's copy of it.

    Communication
    -------------
    Collective over domain.world_comm to make: an agreement.
    """

    def __init__(self, domain: Domain, capacity: int, states: int, channels: int, parameters: int, dtype: torch.dtype) -> None:
        self.domain, self.capacity = domain, capacity
        if capacity < domain.num_data:
            raise ConfigError(f"data.capacity = {capacity} is less than one sample for each of {domain.num_data} groups: raise it")
        self.places: BlockRange = block_range(capacity, domain.num_data, domain.data_index)
        shape = (self.places.size, states, channels, *domain.local_shape)
        agree_on_error(_lack_of_memory(shape, dtype, domain), domain.world_comm)
        self.fields = torch.zeros(shape, dtype=dtype, device=domain.device)
        self.simulation, self.sample = (np.zeros(self.places.size, np.int64) for _ in range(2))
        self.parameters = torch.zeros(self.places.size, parameters, dtype=torch.float64)

    def fields_to_save(self) -> Blocked:
        """A copy of this rank's cells, for a checkpoint.

        Communication
        -------------
        Local.
        """
        offset = (self.places.start, 0, 0, *(r.start for r in self.domain.block))
        whole = (self.capacity, *self.fields.shape[1:3], *self.domain.global_shape)
        return Blocked(self.fields.clone(), offset, whole)

    def rows_to_save(self, rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What is known of the places of all groups, from that of this group's; what each place holds comes with it.

        Communication
        -------------
        Collective over domain.world_comm: a sum of some tens of bytes per place.
        """
        known = {**rows, "simulation": self.simulation, "sample": self.sample, "parameters": self.parameters.numpy()}
        return {name: self._of_all(row) for name, row in known.items()}

    def load(self, fields: Tensor, rows: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Take over what was saved on any ranks; gives the rows of this group's places.

        Communication
        -------------
        Local.
        """
        self.fields.copy_(fields)
        mine = {name: np.asarray(row)[self.places.start : self.places.stop] for name, row in rows.items()}
        self.simulation[:], self.sample[:] = mine.pop("simulation"), mine.pop("sample")
        self.parameters.copy_(torch.as_tensor(mine.pop("parameters")))
        return mine

    def _of_all(self, row: np.ndarray) -> np.ndarray:
        whole = np.zeros((self.capacity, *row.shape[1:]), row.dtype)
        if self.domain.comm.rank == 0:  # the others of the group know the same
            whole[self.places.start : self.places.stop] = row
        return all_sum(whole, self.domain.world_comm)


def _lack_of_memory(shape: tuple[int, ...], dtype: torch.dtype, domain: Domain) -> ConfigError | None:
    """The error where the buffer of a rank has no room, three copies for a checkpoint and one more beside it included."""
    needed = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    node = patient(domain.world_comm).Split_type(MPI.COMM_TYPE_SHARED)
    together = int(all_sum(needed, node))
    node.Free()
    if domain.device.type == "cuda":
        free, copies = torch.cuda.mem_get_info(domain.device)[0], 1
        together = needed
    else:
        free, copies = free_memory(), 5
    if copies * together < free:
        return None
    return ConfigError(
        f"the buffer takes {together / 1e9:.3g} GB on a node, with the copies of a checkpoint {copies * together / 1e9:.3g} GB, and "
        f"{free / 1e9:.3g} GB are free: lower data.capacity, or take more trainers on more nodes"
    )
