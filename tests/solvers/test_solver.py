"""A rollout is repeated steps, and a value that is not finite ends it on every rank alike."""

import pytest
import torch

from hpcml.core.errors import SolverError
from hpcml.fields import Grid, decompose
from hpcml.solvers import Solver


class Doubling(Solver):
    """Doubles, in a representation that is the state plus one; counts how often it goes there and back."""

    def __init__(self, domain, poison=None):
        self.space, self.poison, self.steps, self.moves = domain, poison, 0, 0

    def enter(self, state):
        self.moves += 1
        return state + 1

    def leave(self, inner):
        self.moves += 1
        return inner - 1

    def advance(self, inner):
        self.steps += 1
        doubled = 2 * (inner - 1) + 1
        return doubled / 0.0 if self.steps == self.poison else doubled


@pytest.mark.parallel([1, 2, 3])
def test_snapshots_are_whole_intervals_from_the_first_state_on(comm):
    with decompose(Grid((6,)), comm) as domain:
        state = torch.ones(2, 1, *domain.local_shape)
        solver = Doubling(domain)
        fields = solver.rollout(state, num_steps=7, every=3)
        assert fields.shape == (2, 3, 1, *domain.local_shape)
        assert torch.equal(fields[0, :, 0, 0], torch.tensor([1.0, 8.0, 64.0]))
        assert (solver.steps, solver.moves) == (6, 3)
        assert torch.equal(solver.step(state), 2 * state)


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize(("poison", "every", "after"), [(1, 1, 1), (3, 2, 3), (5, 6, 5)])
def test_a_value_that_is_not_finite_on_one_rank_stops_all(comm, poison, every, after):
    with decompose(Grid((6,)), comm) as domain:
        solver = Doubling(domain, poison if comm.rank == comm.size - 1 else None)
        with pytest.raises(SolverError, match=f"after step {after}, on one of {comm.size} ranks"):
            solver.rollout(torch.ones(1, 1, *domain.local_shape), 6, every)


@pytest.mark.parallel([1, 2])
def test_a_state_that_is_not_finite_is_named_before_the_first_step(comm):
    with decompose(Grid((6,)), comm) as domain:
        state = torch.ones(1, 1, *domain.local_shape)
        if comm.rank == 0:
            state[0, 0, 0] = float("nan")
        solver = Doubling(domain)
        with pytest.raises(SolverError, match="before the first step"):
            solver.rollout(state, 3)
        assert solver.steps == 0


def test_a_rollout_is_differentiable(comm):
    state = torch.ones(1, 1, 6, requires_grad=True)
    Doubling(decompose(Grid((6,)), comm)).rollout(state, 3)[:, -1].sum().backward()
    assert torch.equal(state.grad, torch.full_like(state, 8.0))
