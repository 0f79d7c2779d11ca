"""Mean and deviation of fields over a whole grid."""

from torch import Tensor

from hpcml.fields.domain import Domain
from hpcml.mpi.call import named_call
from hpcml.mpi.reductions import all_sum


@named_call
def moments(domain: Domain, fields: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every channel over samples and the whole grid, each of shape (channel,).

    Communication
    -------------
    Collective over domain.comm: two all-reduces.
    """
    dims = [d for d in range(fields.dim()) if d != 1]
    count = fields.shape[0] * domain.grid.num_cells
    wide = fields.double()
    mean = all_sum(wide.sum(dims), domain.comm) / count
    variance = all_sum((wide - mean.view(-1, *(1,) * domain.num_dims)).square().sum(dims), domain.comm) / count
    return mean.to(fields.dtype), variance.sqrt().to(fields.dtype)
