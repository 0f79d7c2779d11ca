"""Darcy's pressure solves its equation, on any number of ranks."""

import pytest
import torch

from hpcml.core.errors import ConfigError, SolverError
from hpcml.equations import Darcy
from hpcml.fields import Grid, decompose
from hpcml.solvers import DarcySolver


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("shape", [(31,), (13, 17), (7, 9, 8)], ids=str)
def test_the_residual_vanishes_and_ranks_do_not_show(comm, shape):
    with decompose(Grid(shape, periodic=False), comm) as domain:
        solutions = []
        for part in (domain, domain.serial()):
            state = Darcy().initial_state(part, range(3))
            solved = DarcySolver(Darcy(), part, tolerance=1e-13).step(state)
            assert torch.equal(solved[:, :1], state[:, :1])
            assert Darcy().tendency(solved, part).abs().max() < 1e-10  # a source of 1, less 1e-13 of its norm, some hundred cells
            solutions.append(solved)
        here, whole = solutions
        # Both are within 1e-13 of the residual, times a condition number of a few hundred.
        assert (here - whole[domain.index]).abs().max() <= 1e-10 * whole[:, 1:].abs().max()


def test_one_dim_has_the_solution_of_the_book(comm):
    """Constant a: p = x (1 - x) / 2a, and dx² / 8a for the half cell at the wall."""
    domain = decompose(Grid((40,), periodic=False), comm)
    (x,) = domain.centres()
    pressure = DarcySolver(Darcy(source=1.0), domain).solve(torch.full((1, 1, 40), 2.0, dtype=torch.float64))
    assert torch.allclose(pressure[0, 0], x * (1 - x) / 4 + (1 / 40) ** 2 / 16, atol=1e-9)  # tolerance 1e-10 times the condition number


@pytest.mark.parallel([1, 2])
def test_a_solved_state_stays(comm):
    with decompose(Grid((12, 12), periodic=False), comm) as domain:
        fields = DarcySolver(Darcy(), domain).rollout(Darcy().initial_state(domain, range(2)), 3)
        assert (fields[:, 1, 1] - fields[:, 3, 1]).abs().max() < 1e-9 * fields.abs().max()  # the tolerance, 1e-10, a few times


@pytest.mark.parallel([1, 2, 3])
def test_what_cannot_be_solved_is_named_on_every_rank(comm):
    with decompose(Grid((12,), periodic=False), comm) as domain:
        coefficient = torch.ones(1, 1, *domain.local_shape)
        if comm.rank == comm.size - 1:
            coefficient[..., -1] = -3.0
        with pytest.raises(SolverError, match="positive definite"):
            DarcySolver(Darcy(), domain).solve(coefficient)
    with decompose(Grid((12,)), comm) as domain, pytest.raises(ConfigError, match="walls"):
        DarcySolver(Darcy(), domain)
