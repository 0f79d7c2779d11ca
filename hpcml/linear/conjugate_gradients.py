"""Conjugate gradients, matrix-free, for a batch of fields that are dealt to ranks."""

from collections.abc import Callable

import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.core.errors import SolverError
from hpcml.mpi.call import calling
from hpcml.mpi.reductions import all_sum


@torch.no_grad()
def conjugate_gradients(
    apply: Callable[[Tensor], Tensor],
    b: Tensor,
    comm: MPI.Intracomm,
    *,
    diagonal: Tensor,
    start: Tensor | None = None,
    tolerance: float = 1e-10,
    most_iterations: int = 10_000,
) -> Tensor:
    """Solve A x = b for every sample of a batch, with the diagonal of A as preconditioner.

    Parameters
    ----------
    apply : callable
        A, symmetric and positive definite within each sample: from (batch, ...) to the same shape.
    b : Tensor
        (batch, ...): this rank's part of the right-hand sides.
    comm : MPI.Intracomm
        The ranks that share a sample.
    diagonal : Tensor
        Of A, positive, of a shape that broadcasts to that of ``b``.
    start : Tensor, optional
        First guess, default zero.
    tolerance : float
        Of |b - A x| / |b|, for every sample.
    most_iterations : int
        After which to give up.

    Returns
    -------
    Tensor
        x, of the shape of ``b``; not differentiable.

    Raises
    ------
    SolverError
        On every rank of comm: when A turns out not to be positive definite, or some sample has not converged after ``most_iterations``.

    Communication
    -------------
    Collective over comm: that of A and two all-reduces of some numbers per sample in each iteration.

    Notes
    -----
    Iterations grow as the square root of the condition number: for the Laplacian as the number of cells along a dim.

    References
    ----------
    M. R. Hestenes and E. Stiefel, Journal of Research of the National Bureau of Standards 49, 409 (1952).
    """
    x = torch.zeros_like(b) if start is None else start.clone()
    r = b - apply(x)
    z = r / diagonal
    p = z.clone()
    rz, rr, bb = _dots(comm, (r, z), (r, r), (b, b))
    goal = tolerance**2 * bb
    for _ in range(most_iterations):
        if bool((rr <= goal).all()):
            return x
        q = apply(p)
        (pq,) = _dots(comm, (p, q))
        if not bool((pq > 0).logical_or(rr <= goal).all()):
            raise SolverError(
                f"conjugate gradients met p·Ap = {float(pq.min()):g}: the operator is not symmetric positive definite, or holds NaN; "
                "look at its coefficients"
            )
        # A sample that has arrived stands still while others go on.
        alpha = torch.where(rr <= goal, 0.0, rz / pq)
        x.addcmul_(alpha, p)  # in place, and in one pass for the whole batch: three times as fast as with temporaries
        r.addcmul_(alpha, q, value=-1)
        torch.div(r, diagonal, out=z)
        rz_before = rz
        rz, rr = _dots(comm, (r, z), (r, r))
        torch.addcmul(z, torch.where(rr <= goal, 0.0, rz / rz_before), p, out=p)
    worst = float((rr / bb).max().sqrt())
    raise SolverError(
        f"conjugate gradients: relative residual {worst:.1e} of the worst of {b.shape[0]} samples after {most_iterations} iterations, "
        f"wanted {tolerance:.1e}: allow more iterations or a looser tolerance (float32 reaches about 1e-5)"
    )


def _dots(comm: MPI.Intracomm, *pairs: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    """Inner products within each sample over all ranks, each shaped to broadcast against the fields."""
    fields = pairs[0][0]
    local = torch.stack([torch.linalg.vecdot(a.flatten(1), c.flatten(1)) for a, c in pairs])
    with calling("conjugate_gradients"):
        return all_sum(local, comm).view(len(pairs), -1, *(1,) * (fields.dim() - 1)).unbind(0)
