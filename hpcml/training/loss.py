"""What is minimised: distances between fields that many ranks share, each one number, the same on every rank.

    mse           1 / (B C N) sum (p - t)^2
    relative_l2   1 / B sum_b |p_b - t_b| / |t_b|                           |u|^2 = sum of u^2 over channels and cells
    h1            1 / B sum_b |p_b - t_b|_1 / |t_b|_1                       |u|_1^2 = |u|^2 + sum over dims of |du/dx|^2

B counts the samples of all data groups, N the points of the whole space. Values and gradients are those of one rank with everything.

All arithmetic is in float64 and so is the value, whatever the fields are: squares of physical units, such as 1e30 or 1e-30, leave float32,
and counts of cells leave float16. Gradients have the dtype of the fields.

A target that is zero everywhere has no relative error. Its norm counts as that of a field of ones: the error is then the root mean square
of the difference (for `h1`: with its derivatives), 0 for an exact prediction.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.core.errors import ConfigError, ShapeError
from hpcml.fields.domain import Domain
from hpcml.mpi.call import named_call
from hpcml.parallel.replicated import global_sum
from hpcml.parallel.space import Space
from hpcml.parallel.sum_points import sum_points

Loss = Callable[[Any, Tensor, Tensor], Tensor]
"""``loss(space, prediction, target)``; some want a `Domain`."""
_DTYPES = torch.float16, torch.bfloat16, torch.float32, torch.float64


@named_call
def mse(space: Space, prediction: Tensor, target: Tensor) -> Tensor:
    """Mean square of the difference over the whole field and the whole batch.

    Parameters
    ----------
    space : Space
        Where the fields live.
    prediction, target : Tensor
        (batch, channel, *local_shape), or as the space has it.

    Returns
    -------
    Tensor
        One number, float64, the same on every rank; ``backward`` on every rank gives the gradient of this one number.

    Raises
    ------
    ShapeError
        If the two are not this rank's parts of fields of one shape; on every rank, if ranks that share fields have other samples, channels
        or dtypes of them.

    Communication
    -------------
    Collective over space.world_comm: one all-reduce of ten numbers; backward none.
    """
    _check(space, prediction, target)

    def square(p: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        total = (p.double() - t.double()).square().sum()
        return total, total.new_tensor(p.numel())

    total, count = _sums(space, space.world_comm, square, prediction, target)
    return total / count


@named_call
def relative_l2(space: Space, prediction: Tensor, target: Tensor) -> Tensor:
    """Norm of the difference over the norm of the target, averaged over samples; see `mse`.

    Communication
    -------------
    Collective over space.comm: one all-reduce of two numbers per sample and eight more; with data groups another of two numbers over
    space.world_comm. Backward none.
    """
    _check(space, prediction, target)

    def squares(p: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        p, t = (space.channels_first(u).double() for u in (p, t))
        return _square(p - t), _square(t)

    above, below = _sums(space, space.comm, squares, prediction, target)
    return _mean_ratio(space, above, below, space.channels_first(target).shape[1])


@named_call
def h1(domain: Domain, prediction: Tensor, target: Tensor) -> Tensor:
    """As `relative_l2`, of values and first derivatives together, in the unit of the grid's extent.

    Derivatives are central differences, one-sided at the ends of dims that are not periodic.

    Communication
    -------------
    As `relative_l2`, and one halo exchange of width 1 of both fields together; backward the same.
    """
    if not isinstance(domain, Domain):
        raise ConfigError("training.loss = 'h1' takes derivatives along the dims of a grid, and these fields lie on none: take relative_l2")
    _check(domain, prediction, target)
    target = target.double()
    difference = prediction.double() - target
    boundary = tuple("periodic" if p else "replicate" for p in domain.grid.periodic)
    wide = domain.halo(difference, target, boundary=boundary)
    parts = (_square(u) + _gradient_square(domain, w) for u, w in zip((difference, target), wide, strict=True))
    above, below = global_sum(domain.comm, *parts)
    return _mean_ratio(domain, above, below, target.shape[1])


def _check(space: Space, prediction: Tensor, target: Tensor) -> None:
    points = target.shape[2:] if space.channel_dim == 1 else space.points_in(target.shape)
    if prediction.shape != target.shape or points != space.local_shape:
        raise ShapeError(
            f"rank {space.comm.rank}: a loss takes two blocks {space.form} of one shape, got a prediction of {tuple(prediction.shape)} and "
            f"a target of {tuple(target.shape)}"
        )


def _sums(
    space: Space, comm: MPI.Intracomm, function: Callable[[Tensor, Tensor], Sequence[Tensor]], prediction: Tensor, target: Tensor
) -> Sequence[Tensor]:
    """`sum_points`, where ranks that share fields have parts of the same ones."""
    if space.tiles is not None or comm.size == 1:
        return sum_points(space, comm, function, prediction, target)
    *sums, unlike = global_sum(comm, *function(prediction, target), _unlike(space, prediction, target))
    if torch._C._functorch.maybe_current_level() is None and unlike.any():
        samples, channels = space.channels_first(target).shape[:2]
        raise ShapeError(
            f"rank {comm.rank}: ranks that share fields have unlike ones, here {samples} samples of {channels} channels, a prediction in "
            f"{prediction.dtype} and a target in {target.dtype}: give every rank its part of the same fields"
        )
    return sums


def _unlike(space: Space, prediction: Tensor, target: Tensor) -> Tensor:
    """Numbers whose sums over all ranks are 0 where the R ranks of a group have as many samples and channels, and the same dtypes.

    For each such b_r

        sum_r (b_r - b_0)        sum_r (b_r^2 - b_0^2)        the second is above 0 where the first is 0 and not all are alike
    """
    samples, channels = space.channels_first(target).shape[:2]
    values = [samples, channels, *(_DTYPES.index(field.dtype) if field.dtype in _DTYPES else -1 for field in (prediction, target))]
    weight = 1 - (space.comm.size if space.comm.rank == 0 else 0)
    return torch.tensor([weight * value**power for value in values for power in (1, 2)], dtype=torch.float64, device=space.device)


def _square(u: Tensor) -> Tensor:
    """Sum of squares of each sample."""
    return u.flatten(1).square().sum(1)


def _gradient_square(domain: Domain, wide: Tensor) -> Tensor:
    """Sum of squares of the derivatives of each sample, from the field with one ghost cell all around."""
    total = wide.new_zeros(wide.shape[0])
    inner = [slice(None)] * 2 + [slice(1, -1)] * domain.num_dims
    for d in range(domain.num_dims):
        above, below = ((*inner[: d + 2], cells, *inner[d + 3 :]) for cells in (slice(2, None), slice(None, -2)))
        column = [-1 if k == d else 1 for k in range(domain.num_dims)]
        total = total + _square((wide[above] - wide[below]) / _distance(domain, d).to(wide.dtype).view(column))
    return total


def _distance(domain: Domain, d: int) -> Tensor:
    """Distance between the two neighbors of each cell; the replicated neighbor beyond an end lies at the cell itself."""
    cell = torch.arange(domain.block[d].start, domain.block[d].stop, device=domain.device)
    steps = torch.full(cell.shape, 2.0, dtype=torch.float64, device=domain.device)
    if not domain.grid.periodic[d]:
        steps -= (cell == 0).double() + (cell == domain.global_shape[d] - 1).double()
    return steps.clamp_min(1.0) * domain.grid.spacing[d]


def _mean_ratio(space: Space, above: Tensor, below: Tensor, channels: int) -> Tensor:
    """Mean over all samples of the root of the ratio of two sums, which are those of a group; a zero target counts as ones."""
    below = torch.where(below == 0, channels * space.num_points_global, below)
    # The derivative of the root at 0 is infinite; a prediction that is exact gets the gradient 0.
    ratio = (above.clamp_min(torch.finfo(above.dtype).tiny) / below).sqrt()
    if space.num_data == 1:
        return ratio.mean()
    # Every rank of a group holds its group's sum. One of them counts, all of them differentiate it.
    share = ratio.sum() if space.comm.rank == 0 else ratio.sum() - ratio.sum().detach()
    count = share.new_tensor(len(ratio) if space.comm.rank == 0 else 0)
    total, samples = global_sum(space.world_comm, share, count)
    return total / samples
