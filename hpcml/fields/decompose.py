"""Deal a grid to ranks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from mpi4py import MPI

from hpcml.fields.domain import Domain
from hpcml.fields.grid import Grid
from hpcml.parallel.decomposition import Decomposition, group_size
from hpcml.topology.process_grid import ProcessGrid, check_dims, choose_dims

if TYPE_CHECKING:
    from hpcml.mpi.world import World


def decompose(
    grid: Grid,
    world: "World | MPI.Intracomm",
    dims: Sequence[int] | None = None,
    data: int = 1,
    device: torch.device | str | None = None,
    same_bits: bool = False,
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
    same_bits : bool
        Whether what is computed has the same bits on any number of ranks. Ranks then share the first dim alone, and work goes by its rows.

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
    Collective over world when ``data`` is above 1 (one communicator split) or ``same_bits`` (one cloned), else local.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> from hpcml.fields import Grid, decompose
    >>> decompose(Grid(shape=(8, 8)), MPI.COMM_SELF).local_shape
    (8, 8)
    """
    per_group = group_size((world if isinstance(world, MPI.Intracomm) else world.comm).size, data)
    rows = (per_group, *(1,) * (len(grid.shape) - 1)) if same_bits and dims is None else dims
    dims = choose_dims(grid.shape, per_group) if rows is None else check_dims(rows, grid.shape, per_group)
    shared = Decomposition.of(world, data, device, same_bits)
    domain = Domain(grid, ProcessGrid(dims, shared.comm.rank), shared)
    shared.spaces[grid, dims] = domain
    return domain
