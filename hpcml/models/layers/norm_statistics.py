"""Mean and variance of values that lie on many ranks, in one message."""

from collections.abc import Sequence

import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.core.errors import ShapeError
from hpcml.parallel.collectives import all_gather

LARGEST_SQUARED = 1e18
"""Beyond it squares may leave float32: 3e38."""


def accurate(dtype: torch.dtype) -> torch.dtype:
    """Precision of statistics of fields of a dtype: float32 or wider."""
    return torch.promote_types(dtype, torch.float32)


def leaves_float32(x: Tensor) -> bool:
    """Whether squares of a field's entries overflow; not asked of a GPU, which would wait for the answer, nor while torch traces."""
    traced = torch.compiler.is_compiling() or torch._C._functorch.maybe_current_level() is not None
    if x.dtype != torch.float32 or x.device.type != "cpu" or traced or not x.numel():
        return False
    lowest, highest = torch.aminmax(x.detach())
    return bool(torch.maximum(-lowest, highest) > LARGEST_SQUARED)


def as_autocast(x: Tensor) -> Tensor:
    """In float32 where torch's autocast has this norm so: on a GPU, not on a CPU."""
    return x.float() if x.is_cuda and torch.is_autocast_enabled("cuda") else x


def track(running: Tensor, value: Tensor, momentum: float) -> None:
    """Move a running statistic towards a value, in float32 or wider."""
    running.copy_(running.double().lerp(value, momentum))


def moments(x: Tensor, dims: Sequence[int], comm: MPI.Intracomm, sharing: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance over ``dims`` of every rank's values together, differentiably.

    Each rank finds its own count n_r, mean m_r and variance v_r, in float32 or wider; these are gathered and combined in float64 (Chan,
    Golub and LeVeque) as

        m = sum_r w_r m_r        v = sum_r w_r (v_r + (m_r - m)^2)        w_r = n_r / sum_s n_s

    which loses no digits where the mean is large beside the deviation, unlike E[x^2] - E[x]^2. Where a rank's variance leaves float32, all
    ranks find theirs in float64.

    Parameters
    ----------
    x : Tensor
        This rank's values; there may be none.
    dims : sequence of int
        What to average over; the other dims must be alike on all ranks, and so must the dtype.
    comm : MPI.Intracomm
        The ranks that share the values.
    sharing : int
        So many ranks in a row share one batch, whose size, that of the first of ``dims``, must be alike on them; 0 where there is none.

    Returns
    -------
    mean, variance : Tensor
        float64, with ``dims`` kept as 1; the variance is that of the values themselves, divided by n. The same on every rank.
    count : Tensor
        n, the values that one mean is taken over; float64, of no dims.

    Raises
    ------
    ShapeError
        On every rank, if ranks that share a batch have parts of unlike size.
    CommunicationError
        On every rank, if their values are of unlike dtypes.

    Communication
    -------------
    Collective over comm: one all-gather of two numbers per mean; backward one all-reduce of as much for each rank. Deterministic.

    References
    ----------
    T. F. Chan, G. H. Golub, R. J. LeVeque, The American Statistician 37 (1983) 242.
    """
    of = f"of {str(x.dtype).removeprefix('torch.')}"
    mean, variance, count = _combined(x.to(accurate(x.dtype)), tuple(dims), comm, sharing, of)
    if x.dtype == torch.float32 and not torch.isfinite(variance).all():
        return _combined(x.double(), tuple(dims), comm, sharing, of)
    return mean, variance, count


def _combined(x: Tensor, dims: tuple[int, ...], comm: MPI.Intracomm, sharing: int, of: str) -> tuple[Tensor, Tensor, Tensor]:
    number = torch.Size(x.shape[d] for d in dims).numel()
    if x.numel():
        variance, mean = torch.var_mean(x, dim=dims, correction=0, keepdim=True)
    else:
        variance = mean = x.sum(dims, keepdim=True)  # zeros, which count for nothing
    count = torch.tensor([float(number), float(x.shape[dims[0]])], dtype=torch.float64, device=x.device)
    if comm.size == 1:
        return mean.double(), variance.double(), count[0]
    gathered = all_gather(comm, torch.cat([mean.double().flatten(), variance.double().flatten(), count]), alike=of)
    counts, samples = gathered[:, -2:].detach().unbind(1)
    if sharing and (samples.view(-1, sharing) != samples[::sharing, None]).any():
        raise ShapeError(
            f"rank {comm.rank}: ranks that share fields have batches of unlike size, {samples.int().tolist()}: give every rank its part of "
            "the same samples"
        )
    weight = (counts / counts.sum()).view(-1, *(1,) * mean.dim())
    means, variances = (part.reshape(comm.size, *mean.shape) for part in gathered[:, :-2].chunk(2, dim=1))
    total = (weight * means).sum(0)
    return total, (weight * (variances + (means - total).square())).sum(0), counts.sum()
