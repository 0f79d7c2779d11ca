"""Conjugate gradients solve what they say, each sample to the tolerance, and give up by name."""

import pytest
import torch

from hpcml.core.errors import SolverError
from hpcml.linear import conjugate_gradients
from hpcml.topology.block import block_range

N = 12


def systems(rng, num):
    factor = torch.from_numpy(rng.standard_normal((num, N, N)))
    return factor @ factor.mT + N * torch.eye(N), torch.from_numpy(rng.standard_normal((num, N)))


@pytest.mark.parallel([1, 2, 3])
def test_a_batch_of_systems_dealt_to_ranks(comm, rng):
    matrices, b = systems(rng, 3)
    b[1] = 0.0
    mine = block_range(N, comm.size, comm.rank)
    rows = slice(mine.start, mine.stop)

    def apply(x):
        return torch.einsum("bij,bj->bi", matrices[:, rows], torch.cat(comm.allgather(x), 1))

    diagonal = matrices.diagonal(dim1=1, dim2=2)[:, rows]
    x = conjugate_gradients(apply, b[:, rows], comm, diagonal=diagonal, tolerance=1e-13)
    # The condition number is below 10, so the error is of the order of the residual.
    assert torch.allclose(x, torch.linalg.solve(matrices, b)[:, rows], atol=1e-12)
    assert torch.equal(conjugate_gradients(apply, b[:, rows], comm, diagonal=diagonal, start=x, tolerance=1e-12), x)


def test_it_ends_after_as_many_steps_as_there_are_eigenvalues(comm):
    values = torch.tensor([[1.0, 1.0, 3.0, 3.0, 7.0]], dtype=torch.float64)
    calls = []

    def apply(x):
        calls.append(x)
        return values * x

    conjugate_gradients(apply, torch.ones(1, 5, dtype=torch.float64), comm, diagonal=torch.ones(1, 5), tolerance=1e-12)
    assert len(calls) == 1 + 3  # the first residual, and three distinct eigenvalues


@pytest.mark.parallel([1, 2])
def test_what_does_not_converge_is_named(comm):
    b = torch.ones(2, 4, dtype=torch.float64)
    with pytest.raises(SolverError, match="positive definite"):
        conjugate_gradients(lambda x: -x, b, comm, diagonal=b)
    scales = torch.tensor([1.0, 10.0, 100.0, 1000.0])
    with pytest.raises(SolverError, match="after 2 iterations"):
        conjugate_gradients(lambda x: scales * x, b, comm, diagonal=b, most_iterations=2)
