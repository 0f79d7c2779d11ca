"""Sum up the values of a dataset, each rank reading its own cells."""

import math

import numpy as np
from mpi4py import MPI

from hpcml.fields.decompose import decompose
from hpcml.fields.grid import Grid
from hpcml.io.dataset import Dataset
from hpcml.mpi.agreement import raise_together
from hpcml.mpi.call import named_call
from hpcml.mpi.patient_comm import patient
from hpcml.mpi.reductions import all_max, all_min, all_sum


@named_call
def statistics(dataset: Dataset, comm: MPI.Intracomm) -> tuple[list[tuple[str, float, float, float]], list[int]]:
    """Least and largest value and mean of every channel, over all trajectories, times and cells.

    Returns
    -------
    table : list of (str, float, float, float)
        Name of the channel, least, largest, mean; NaN where a value is.
    bytes_read : list of int
        By each rank.

    Raises
    ------
    CheckpointError
        On every rank, if the file cannot be read.

    Communication
    -------------
    Collective over comm: some numbers per channel at the end.
    """
    space = dataset.description
    space.check_filled()
    least, most = np.full(len(space.channels), math.inf), np.full(len(space.channels), -math.inf)
    sums = np.zeros(len(space.channels))
    with decompose(Grid(space.grid_shape), comm) as domain, raise_together(comm):
        for trajectory in range(space.num_trajectories):
            values = np.moveaxis(dataset.read(trajectory, block=domain.block), 1, 0).reshape(len(sums), -1).astype(float)
            least, most = np.minimum(least, values.min(1)), np.maximum(most, values.max(1))
            sums += values.sum(1)
    count = math.prod(space.grid_shape) * space.num_times * space.num_trajectories
    columns = all_min(least, comm), all_max(most, comm), all_sum(sums, comm) / count
    return list(zip(space.channels, *(column.tolist() for column in columns), strict=True)), patient(comm).allgather(dataset.bytes_read)
