"""A network steps like any other solver."""

import pytest
import torch

from hpcml.core.errors import ShapeError, SolverError
from hpcml.fields import Grid, decompose
from hpcml.solvers import NeuralSolver


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize(("residual", "factor"), [(False, 0.5), (True, 1.5)])
def test_steps_are_those_of_the_model(comm, residual, factor):
    with decompose(Grid((8, 6)), comm) as domain:
        halve = torch.nn.Conv2d(2, 2, 1, bias=False)
        torch.nn.init.dirac_(halve.weight)
        halve.weight.data *= 0.5
        state = torch.rand(3, 2, *domain.local_shape)
        with torch.no_grad():
            fields = NeuralSolver(halve, domain, residual).rollout(state, 4, every=2)
        assert torch.allclose(fields, torch.stack([state, factor**2 * state, factor**4 * state], 1))


def test_a_model_that_cannot_step_is_named(comm):
    domain = decompose(Grid((8,)), comm)
    with pytest.raises(ShapeError, match=r"\(1, 2, 8\), got \(1, 3, 8\)"):
        NeuralSolver(torch.nn.Conv1d(2, 3, 1), domain).step(torch.zeros(1, 2, 8))


@pytest.mark.parallel([1, 2, 3])
def test_a_model_that_diverges_is_named_on_every_rank(comm):
    class Explodes(torch.nn.Module):
        def forward(self, x):
            return x.exp()

    with decompose(Grid((8,)), comm) as domain, pytest.raises(SolverError, match="NeuralSolver: .* after step"):
        NeuralSolver(Explodes(), domain).rollout(torch.zeros(1, 1, *domain.local_shape), 20)
