"""A run whose sampler learns: simulations are its own, the same however it was stopped, and what cannot be is said in a sentence."""

import csv

import numpy as np
import pytest
import torch

from hpcml.core.case import Case
from hpcml.core.errors import ConfigError
from hpcml.core.named import complete_config
from hpcml.io import restore
from hpcml.online.fixed import Uniform as Fixed
from hpcml.online.parameters import choose_parameters
from hpcml.online.plate import TEMPERATURES
from hpcml.runs.online_case import online_case
from hpcml.runs.online_sampler import make_sampler

SAMPLERS = {
    "breed": {"name": "breed", "every": 2, "start": 1.0, "end": 1.0},
    "residual": {"name": "residual", "every": 2, "pool": 5, "chosen": 3},
    "difficulty": {"name": "difficulty", "every": 2, "look": 1, "base": "uniform", "share": 1.0, "candidates": 3},
    "ogas": {"name": "ogas", "every": 2, "look": 1, "base": "uniform", "start": 1.0, "end": 1.0, "steps": 3, "batch": 8},
}

FAILING = """
from hpcml.online.plate import heat_plate

def failing(domain, parameters, number, interval, at=0):
    '''The plate; simulations 1 and 4 fail, the first before a state and the second after some.'''
    if number == 1:
        raise RuntimeError("cold")
    for step, state in enumerate(heat_plate(domain, parameters, interval)):
        if number == 4 and step == 2:
            raise RuntimeError("hot")
        yield state
"""


def case_of(sampler, updates=24, trainers=1, **changes):
    data = {
        "kind": "online",
        "simulation": "heat_plate",
        "inputs": "parameters",
        "parameters": {name: [100.0, 500.0] for name in TEMPERATURES},
        "simulations": 20,
        "held_out": 2,
        "steps": 5,
        "interval": 0.01,
        "capacity": 12,
        "watermark": 4,
        "new_per_update": 3,
        "ordered": True,
        "sampler": sampler,
    }
    tables = {
        "grid": {"shape": [5, 4], "periodic": False},
        "ranks": {"trainers": trainers, "data": changes.pop("data", 1), "device": "cpu"},
        "model": {"name": "parameter_mlp", "width": 8},
        "training": {"updates": updates, "batch_size": 4, "dtype": "float64", "loss": "mse", "validate_every": 8, "schedule": "constant"},
        "data": data | changes,
    }
    return complete_config(tables, Case, "case.toml")


def state_of(folder, comm):
    return restore(folder / "checkpoints", comm).state


@pytest.mark.parallel([2, 3])
@pytest.mark.parametrize("kind", SAMPLERS)
def test_a_run_that_stops_and_goes_on_has_the_same_simulations_and_ends_with_the_same_bits(world, shared_path, kind):
    whole, parts, trainers = shared_path / "whole", shared_path / "parts", world.size - 1
    if kind == "difficulty":
        trainers = 1  # and two that simulate
    online_case(case_of(SAMPLERS[kind], trainers=trainers), whole, world)
    for updates in (5, 24):
        online_case(case_of(SAMPLERS[kind], updates, trainers), parts, world)
    one, two = (state_of(folder, world.comm) for folder in (whole, parts))
    for name, value in one["model"].items():
        assert torch.equal(value, two["model"][name]), name
    steering = one["stream"]["steering"]
    assert (steering["table"] == two["stream"]["steering"]["table"]).all()
    settled = np.asarray(steering["settled"]) == 1
    design = choose_parameters({str(k): (0.0, 1.0) for k in range(5)}, range(20), 0)
    steered = (np.asarray(steering["table"]) != design).any(1) & settled
    assert 3 < steered.sum() < settled.sum() < 20, "some as designed, some as learned, some not begun"
    online_case(case_of(SAMPLERS[kind], 300), parts, world)  # on other ranks, until nothing is left
    there = state_of(parts, world.comm)["stream"]
    assert (there["steering"]["table"][settled] == steering["table"][settled]).all()
    assert (np.asarray(there["marks"]) == 2).all()
    if world.rank == 0:
        with (whole / "metrics.csv").open(newline="") as file:
            assert 0 < float(list(csv.DictReader(file))[-1]["steering"]) < 1


@pytest.mark.parallel([3])
def test_simulations_that_fail_do_not_hold_up_the_next_of_their_group(world, shared_path, monkeypatch):
    if world.rank == 0:
        (shared_path / "failing_plate.py").write_text(FAILING)
    world.comm.barrier()
    monkeypatch.syspath_prepend(str(shared_path))
    changes = {"simulation": {"name": "failing_plate:failing"}, "max_failed": 2}
    online_case(case_of(SAMPLERS["breed"], 300, **changes), shared_path / "run", world)
    marks = np.asarray(state_of(shared_path / "run", world.comm)["stream"]["marks"])
    used = (marks == 2).all(1)
    assert [n for n in range(20) if not used[n]] == [1, 4] and (marks[4] == 2).sum() == 2


@pytest.mark.parallel([3])
def test_groups_of_trainers_tell_one_sampler(world, shared_path):
    online_case(case_of(SAMPLERS["breed"], 24, trainers=2, data=2, ordered=False), shared_path / "run", world)
    _, _, sizes = state_of(shared_path / "run", world.comm)["stream"]["steering"]["sampler"]["sizes"]
    assert set(np.frombuffer(sizes, np.int64).tolist()) == {4}, "samples of both groups are one batch"


class Scored(Fixed):
    """Asks for scores of nothing."""

    scores = True

    def __init__(self, simulations: int, dims: int, seed: int) -> None:
        super().__init__(simulations, dims, seed)
        self.every = 2


WRONG = [
    ({"sampler": "breed", "parameters": {}}, "data.parameters names none"),
    ({"sampler": "breed", "data": 2, "trainers": 2}, "ranks.data = 2: set it to 1, or leave data.ordered out"),
    ({"sampler": {"name": "residual"}, "simulation": "hpcml.online.plate:heat_plate"}, "data.sampler.residual = 'module:name'"),
    ({"sampler": {"name": "hpcml.online.draws:Draws", "stream": "x"}}, "data.sampler.stream: expected nothing"),
    ({"sampler": "tests.runs.test_online_sampler:Scored"}, "asks for scores and has no candidates"),
]


@pytest.mark.parametrize(("changes", "text"), WRONG)
def test_what_cannot_be_steered_says_so(changes, text):
    with pytest.raises((ConfigError, TypeError), match=text):
        make_sampler(case_of(**changes))


@pytest.mark.parametrize(
    ("sampler", "text"),
    [
        ({"name": "breed", "start": 1.5}, "data.sampler.start"),
        ({"name": "brede"}, "did you mean 'breed'"),
        ({"name": "sobol", "every": 3}, "unknown key data.sampler.every"),
        ({"name": "residual", "pool": 0}, "data.sampler.pool"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_with_the_case(sampler, text):
    with pytest.raises(ConfigError, match=text):
        case_of(sampler)
