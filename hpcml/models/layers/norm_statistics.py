"""Mean and variance of values that lie on many ranks, in one message, and the normalisation by them."""

from collections.abc import Sequence

import torch
from mpi4py import MPI
from torch import Tensor, nn

from hpcml.core.errors import ShapeError
from hpcml.parallel.collectives import all_gather
from hpcml.parallel.replicated import replicated


def check_channels(layer: nn.Module, x: Tensor, num_channels: int) -> None:
    """Refuse a field of another number of channels, which broadcasting might take for one of a single channel."""
    if x.shape[1] != num_channels:
        raise ShapeError(f"{layer} expected {num_channels} channels, got a field (batch, channel, *local) of {tuple(x.shape)}")


def moments(x: Tensor, dims: Sequence[int], comm: MPI.Intracomm) -> tuple[Tensor, Tensor, float]:
    """Mean and variance over ``dims`` of every rank's values together.

    Each rank finds its own count n_r, mean m_r and variance v_r; these are gathered and combined (Chan, Golub and LeVeque) as

        m = sum_r w_r m_r        v = sum_r w_r (v_r + (m_r - m)^2)        w_r = n_r / sum_s n_s

    which loses no digits where the mean is large beside the deviation, unlike E[x^2] - E[x]^2.

    Parameters
    ----------
    x : Tensor
        This rank's values.
    dims : sequence of int
        What to average over; the other dims must be alike on all ranks.
    comm : MPI.Intracomm
        The ranks that share the values.

    Returns
    -------
    mean, variance : Tensor
        With ``dims`` kept as 1; the variance is that of the values themselves, divided by n. The same on every rank.
    count : float
        n, the values that one mean is taken over.

    Communication
    -------------
    Collective over comm: one all-gather of two numbers per mean; backward one all-reduce of as much for each rank. Deterministic.

    References
    ----------
    T. F. Chan, G. H. Golub, R. J. LeVeque, The American Statistician 37 (1983) 242.
    """
    variance, mean = torch.var_mean(x, dim=tuple(dims), correction=0, keepdim=True)
    count = x.numel() / mean.numel()
    if comm.size == 1:
        return mean, variance, count
    own = torch.cat([mean.flatten(), variance.flatten(), mean.new_tensor([count])])
    gathered = all_gather(comm, own)
    counts = gathered[:, -1].detach()
    shape = (comm.size, *mean.shape)
    weight = (counts / counts.sum()).view(-1, *(1,) * mean.dim())
    means, variances = (part.reshape(shape) for part in gathered[:, :-1].chunk(2, dim=1))
    mean = (weight * means).sum(0)
    variance = (weight * (variances + (means - mean).square())).sum(0)
    return mean, variance, float(counts.double().sum())


def normalize(x: Tensor, mean: Tensor, variance: Tensor, eps: float, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """(x - mean) / sqrt(variance + eps) * weight + bias, all broadcast to x."""
    scale = torch.rsqrt(variance + eps)
    y = (x - mean) * (scale if weight is None else scale * weight)
    return y if bias is None else y + bias


def replicated_affine(comm: MPI.Intracomm, weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Weight and bias as `hpcml.parallel.replicated` gives them; either may be absent."""
    used = iter(replicated(comm, *(p for p in (weight, bias) if p is not None)))
    return None if weight is None else next(used), None if bias is None else next(used)
