"""Deal a grid to ranks."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from mpi4py import MPI

from hpcml.core.errors import TopologyError
from hpcml.fields.decomposition import Decomposition
from hpcml.fields.domain import Domain
from hpcml.fields.grid import Grid
from hpcml.mpi.device import bound_device, choose_device
from hpcml.mpi.patient_comm import patient
from hpcml.topology.process_grid import ProcessGrid, check_dims, choose_dims

if TYPE_CHECKING:
    from hpcml.mpi.world import World


def decompose(
    grid: Grid,
    world: "World | MPI.Intracomm",
    dims: Sequence[int] | None = None,
    data: int = 1,
    device: torch.device | str | None = None,
) -> Domain:
    """Deal a grid to ranks.

    Parameters
    ----------
    grid : Grid
        What to share.
    world : World or MPI.Intracomm
        All ranks; their number must be ``data`` times the product of ``dims``.
    dims : sequence of int, optional
        Process grid set by hand; default the one with the least modelled time per step, see `hpcml.topology.choose_dims`.
    data : int
        Groups of ranks that each hold fields of their own: data parallelism over domain parallelism.
    device : torch.device or str, optional
        Where this rank's fields and the parameters of layers lie: ``"cpu"``, ``"cuda"`` for the GPU of this rank, or any device of torch.
        Default that of the world; of a communicator, the GPU that this process has bound, else the CPU.

    Returns
    -------
    Domain
        This rank's view.

    Raises
    ------
    TopologyError
        On every rank, if the numbers do not fit.
    DeviceError
        For a device that is not there.

    Communication
    -------------
    Collective over world when ``data`` is above 1 (one communicator split), else local.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> from hpcml.fields import Grid, decompose
    >>> decompose(Grid(shape=(8, 8)), MPI.COMM_SELF).local_shape
    (8, 8)
    """
    bound = bound_device() if isinstance(world, MPI.Intracomm) else world.device
    world_comm = patient(world if isinstance(world, MPI.Intracomm) else world.comm)
    size, rank = world_comm.size, world_comm.rank
    if data < 1 or size % data:
        raise TopologyError(f"{size} ranks cannot be cut into {data} groups of equal size: choose a divisor of {size}")
    per_group = size // data
    dims = choose_dims(grid.shape, per_group) if dims is None else check_dims(dims, grid.shape, per_group)
    assert math.prod(dims) == per_group
    comm = world_comm if data == 1 else world_comm.Split(rank // per_group, rank)
    owned: list[MPI.Intracomm] = [] if comm is world_comm else [comm]
    shared = Decomposition(comm, world_comm, data, rank // per_group, owned, choose_device(device, bound))
    domain = Domain(grid, ProcessGrid(dims, comm.rank), shared)
    shared.domains[grid, dims] = domain
    return domain
