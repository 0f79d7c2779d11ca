"""A step that the solver took has no residual, a wrong one has, on any number of ranks."""

import itertools

import numpy as np
import pytest
import torch

from hpcml.core.errors import ConfigError
from hpcml.core.online_data import Online
from hpcml.equations.heat import Heat
from hpcml.fields import Grid, decompose
from hpcml.online.heat_plate_residual import heat_plate_residual
from hpcml.online.model_residual import ModelResidual, step_residual
from hpcml.online.plate import TEMPERATURES, heat_plate

WALLS = dict(zip(TEMPERATURES, (150.0, 400.0, 200.0, 300.0, 100.0), strict=True))


@pytest.mark.parallel([1, 2, 3, 4])
def test_the_plates_solver_leaves_no_residual_of_its_own_steps(comm):
    domain = decompose(Grid((7, 5), (1.0, 2.0), periodic=False), comm)
    steps = torch.stack(list(itertools.islice(heat_plate(domain, WALLS, 0.01, 0.7), 6)))[:, None]
    off = heat_plate_residual(domain, WALLS, 0.01, steps[:-1], steps[1:], 0.7)
    change = (steps[1:] - steps[:-1]).abs().max() / 0.01
    assert off.shape == (5, 1, *domain.local_shape)
    assert float(off.abs().max()) < 1e-9 * comm.allreduce(float(change), max)  # round-off of rates of 1e4 degrees
    for name in WALLS:
        wrong = heat_plate_residual(domain, WALLS | {name: WALLS[name] + 1}, 0.01, steps[:-1], steps[1:], 0.7)
        assert name == "initial" or comm.allreduce(float(wrong.abs().max()), max) > 1


class Made(torch.nn.Module):
    """A prediction that is what a function makes of the inputs."""

    def __init__(self, function):
        super().__init__()
        self.function, self.weight = function, torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, x):
        return self.function(x)


def spec_of(**changes):
    given = {"kind": "online", "interval": 0.01, "steps": 20, "parameters": {"diffusivity": (0.5, 2.0)}}
    return Online.model_validate(given | changes, strict=False)


@pytest.mark.parallel([1, 2, 3])
def test_a_model_that_solves_the_equation_scores_better_than_one_that_does_not(comm):
    domain, spec = decompose(Grid((32,)), comm), spec_of()
    residual = step_residual(spec, None, lambda parameters: Heat(diffusivity=parameters[0]))
    state = Heat(diffusivity=1.0).exact(domain, 0.0)
    model = Made(lambda x: Heat(diffusivity=1.0).exact(domain, 0.01).expand(len(x), -1, -1))  # right for a diffusivity of 1 alone
    scores = ModelResidual(model, domain, spec, residual)(np.array([[1.0], [0.6], [1.7]]), state)
    assert scores[0] < 0.05 < 0.2 < min(scores[1:]) and model.training
    alone = decompose(Grid((32,)), comm.Split(comm.rank))
    whole = Made(lambda x: Heat(diffusivity=1.0).exact(alone, 0.01).expand(len(x), -1, -1))
    same = ModelResidual(whole, alone, spec, residual)(np.array([[1.0], [0.6], [1.7]]), Heat(diffusivity=1.0).exact(alone, 0.0))
    np.testing.assert_allclose(scores, same, rtol=1e-10)  # sums of other ranks


def test_a_simulation_of_ones_own_has_a_residual_if_it_names_one():
    own = spec_of(simulation={"name": "somewhere:mine"}, inputs="parameters")
    with pytest.raises(ConfigError, match=r"data.sampler.residual = 'module:name'"):
        step_residual(own, None, None)
    assert step_residual(own, "hpcml.online.heat_plate_residual:heat_plate_residual", None) is heat_plate_residual
    plate = spec_of(simulation={"name": "heat_plate", "diffusivity": 0.7}, inputs="parameters", parameters=dict.fromkeys(WALLS, (1.0, 2.0)))
    domain = decompose(Grid((4, 4), periodic=False), __import__("mpi4py.MPI").MPI.COMM_SELF)
    first, second = (state[None, None] for state in itertools.islice(heat_plate(domain, WALLS, 0.01, 0.7), 2))
    assert float(step_residual(plate, None, None)(domain, WALLS, 0.01, first, second).abs().max()) < 1e-6
    times = []
    model = Made(lambda x: times.append(x[:, -1, 0, 0]) or x[:, :1] + x[:, -1:])
    scores = ModelResidual(model, domain, plate, step_residual(plate, None, None))(np.array([list(WALLS.values())]), None)
    assert scores.shape == (1,) and scores[0] > 1
    np.testing.assert_allclose(times[0], 0.01 * np.array([0, 6, 12, 18, 1, 7, 13, 19]), atol=1e-12)
