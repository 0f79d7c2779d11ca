"""The dot-product test, which tells whether one distributed linear operator is the adjoint of another."""

from collections.abc import Callable, Sequence

import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.mpi.reductions import all_sum

Operator = Callable[..., Sequence[Tensor]]


def adjoint_error(
    forward: Operator,
    adjoint: Operator,
    x: Sequence[Tensor],
    y: Sequence[Tensor],
    comm: MPI.Intracomm,
    replicated: tuple[bool, bool] = (False, False),
) -> float:
    """Relative violation of the definition of the adjoint.

        | <F x, y> - <x, F* y> |  /  max(|F x| |y|, |x| |F* y|)

    where inner products and norms are summed over all ranks.

    Parameters
    ----------
    forward, adjoint : callable
        F and F*, each from tensors to tensors, run on every rank.
    x, y : sequence of Tensor
        This rank's part of a point of either space; random ones make the test sharp.
    comm : MPI.Intracomm
        The ranks that F spans.
    replicated : (bool, bool)
        Whether the domain, and the range, of F holds values that are the same on every rank: these count once.

    Returns
    -------
    float
        The same on every rank; round-off (below 1e-12 in float64) when the pair is right.

    Communication
    -------------
    Collective over comm: what F and F* do, and one all-reduce.

    References
    ----------
    J. Claerbout, Earth Soundings Analysis, 1992, chapter 5; for distributed networks R. J. Hewett and T. J. Grady, arXiv:2006.03108.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> x = [torch.ones(3)]
    >>> adjoint_error(lambda a: [2 * a], lambda b: [2 * b], x, x, MPI.COMM_SELF)
    0.0
    """
    fx, fy = forward(*x), adjoint(*y)
    x_share, y_share = (1.0 / comm.size if once else 1.0 for once in replicated)
    local = [
        y_share * _dot(fx, y),
        x_share * _dot(x, fy),
        y_share * _dot(fx, fx),
        y_share * _dot(y, y),
        x_share * _dot(x, x),
        x_share * _dot(fy, fy),
    ]
    left, right, fx2, y2, x2, fy2 = all_sum(torch.tensor(local, dtype=torch.float64), comm).tolist()
    scale = max((fx2 * y2) ** 0.5, (x2 * fy2) ** 0.5)
    return abs(left - right) / scale if scale else abs(left - right)


def _dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    wide = [torch.complex128 if t.is_complex() else torch.float64 for t in a]
    return sum(
        float(torch.vdot(s.detach().reshape(-1).to(w), t.detach().reshape(-1).to(w)).real) for s, t, w in zip(a, b, wide, strict=True)
    )
