"""What is settled stays, all trainers have the same, and what a sampler does wrong is one error on all ranks."""

import numpy as np
import pytest
import torch

from hpcml.core.errors import TrainingError
from hpcml.online.breed import Breed
from hpcml.online.sampler import Sampler
from hpcml.online.steering import Steering

RANGES = {"rate": (1.0, 3.0)}


class Noting(Sampler):
    """Keeps what it is told; chooses what it is told to."""

    every = 2

    def __init__(self, points=None):
        super().__init__(np.full((6, 1), 0.5))
        self.heard, self.points = [], points

    def observe(self, simulations, steps, errors):
        self.heard.append((simulations.tolist(), errors.tolist()))

    def choose(self, numbers, scores):
        if isinstance(self.points, Exception):
            raise self.points
        return np.zeros((2, 1)) if self.points is None else self.points


@pytest.mark.parallel([1, 2, 3])
def test_groups_are_heard_as_one_batch_and_what_has_begun_keeps_its_parameters(comm):
    sampler = Noting()
    steering = Steering(sampler, RANGES, comm, leads=comm.rank != 1)  # rank 1 shares its samples with rank 0
    groups = [rank for rank in range(comm.size) if rank != 1]
    assert steering.settle(1) == (2.0,)
    for update in range(2):
        steering.updates += 1
        steering.observe(np.array([comm.rank]), np.array([0]), torch.tensor([update + 0.5]))
        steering.after_update(None)
    if comm.rank == 0:
        assert sampler.heard == [(groups, [update + 0.5] * len(groups)) for update in range(2)]
        assert steering.parameters[:, 0].tolist() == [1.0, 2.0, 1.0, 2.0, 2.0, 2.0]
        assert steering.settle(2, as_designed=True) == (2.0,) and steering.settle(0) == (1.0,)
    saved = steering.state_dict()
    assert saved["table"][:, 0].tolist() == [0.0, 0.5, 0.5, 0.5, 0.5, 0.5] and saved["settled"].tolist() == [1, 1, 1, 0, 0, 0]
    other = Steering(Noting(), RANGES, comm, leads=True)
    other.load_state_dict(saved)
    assert (other.parameters == saved["table"] * 2 + 1).all() and other.updates == 2 and other.settled.tolist() == saved["settled"].tolist()


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize(
    ("points", "text"),
    [
        (np.full((2, 1), 1.5), "outside of the unit cube"),
        (np.full((2, 1), np.nan), "outside of the unit cube"),
        (np.zeros((7, 1)), r"of shape \(7, 1\): expected at most \(6, 1\)"),
        (ZeroDivisionError("no idea"), "data.sampler has failed after update 2: ZeroDivisionError: no idea"),
    ],
)
def test_what_a_sampler_does_wrong_is_said_on_all_ranks(comm, points, text):
    steering = Steering(Noting(points), RANGES, comm, leads=True)
    steering.updates = 2
    with pytest.raises(TrainingError, match=text):
        steering.after_update(None)


@pytest.mark.parallel([1, 2])
def test_losses_that_no_choice_has_come_after_yet_are_part_of_a_state(comm):
    steering, other = (Steering(Breed(4, 1, 0), RANGES, comm, leads=comm.rank == 0) for _ in range(2))
    steering.observe(np.array([0, 1]), np.array([0, 0]), torch.tensor([1.0, 3.0]))
    other.load_state_dict(steering.state_dict())
    assert other.sampler.fitness()[1].tolist() == [0.0, 1.0]
