"""Where the samples of a group of ranks lie among those of all groups."""

import numpy as np
from mpi4py import MPI

from hpcml.parallel.space import Space


def samples_before(space: Space, samples: int) -> tuple[int, int]:
    """Samples of the groups before this one, and of all groups.

    Parameters
    ----------
    space : Space
        Whose groups of ranks share a batch.
    samples : int
        That this group has; groups may hold different numbers.

    Communication
    -------------
    With several groups collective over space.world_comm: one all-gather of a number. Else local.
    """
    if space.num_data == 1:
        return 0, samples
    each = np.empty(space.world_comm.size, dtype=np.int64)
    space.world_comm.Allgather(np.array([samples]), [each, MPI.INT64_T])
    groups = each[:: space.comm.size]
    return int(groups[: space.data_index].sum()), int(groups.sum())
