"""Training ends where the loss on held-out data says so, on all ranks at one update, and a restart knows that it has."""

import json

import pytest
import torch
from mpi4py import MPI

from hpcml.core.errors import ConfigError
from hpcml.core.training_table import EarlyStopping
from hpcml.data import Pairs
from hpcml.fields import Grid, decompose
from hpcml.models.layers import Conv1d
from hpcml.training import Trainer
from hpcml.training.early_stopping import EarlyEnd


def rows(losses, **rule):
    """Number of measurements after which it ends, and why."""
    end = EarlyEnd(EarlyStopping(**rule), (), MPI.COMM_SELF)
    for number, loss in enumerate(losses, 1):
        end.add(loss)
        again = EarlyEnd(EarlyStopping(**rule), (), MPI.COMM_SELF)
        again.load_state_dict(json.loads(json.dumps(end.state_dict())))
        assert again.reason == end.reason
        if end.reason:
            return number, end.reason
    return None, None


def test_it_ends_at_the_first_loss_that_is_good_enough():
    assert rows([0.5, 0.2, 0.1, 0.05], threshold=0.1) == (3, "the loss on held-out data is 0.1, and 0.1 is good enough")
    assert rows([float("nan")] * 9 + [0.5], threshold=0.1) == (None, None)


def test_it_ends_after_so_many_measurements_without_a_gain():
    assert rows([1.0, 0.9, 0.95, 0.89, 0.9, 0.9], patience=2)[0] == 6
    assert rows([1.0, 0.995, 0.991, 0.98, 0.975, 0.972], patience=2, min_gain=0.01)[0] == 3
    number, reason = rows([1.0, 0.9, 0.895, 0.892, 0.891], patience=3, min_gain=0.01)
    assert number == 5 and reason == "the loss on held-out data was 0.9 and has not gained on that in 3 measurements"
    assert rows([0.9**k for k in range(50)], patience=1) == (None, None)


def test_a_loss_below_zero_gains_downwards():
    assert rows([-1.0, -0.995, -1.005, -1.02], patience=2, min_gain=0.01)[0] == 3
    assert rows([1.0, -1.0, -2.0], threshold=-1.5)[0] == 3


@pytest.mark.parallel([2, 3])
def test_groups_that_measure_unlike_losses_decide_alike(comm):
    end = EarlyEnd(EarlyStopping(threshold=0.5), (), comm)
    end.add(0.5 - 1e-16 if comm.rank == 0 else 0.5 + 1e-15)
    assert set(comm.allgather(end.reason is not None)) == {True}


def trainer(comm, folder=None, **settings):
    torch.manual_seed(0)
    domain = decompose(Grid((16,)), comm)
    x = torch.randn(8, 1, 16, generator=torch.manual_seed(1))
    pairs = Pairs.of_whole(domain, x, x.roll(1, -1))
    model = Conv1d(domain, 1, 1, 3, padding=1, padding_mode="circular")
    return Trainer(model, pairs, pairs, loss="mse", schedule="constant", learning_rate=0.1, epochs=200, folder=folder, **settings)


@pytest.mark.parallel([1, 2])
def test_all_ranks_end_at_one_update_and_a_restart_goes_on_only_if_the_rule_lets_it(comm, shared_path):
    first = trainer(comm, shared_path / "run", early_stopping={"threshold": 0.01})
    assert first.fit() <= 0.01 and 1 < first.step < 200 and not first.stopped
    assert comm.allgather(first.step) == [first.step] * comm.size
    same = trainer(comm, shared_path / "run", early_stopping={"threshold": 0.01})
    same.fit()
    assert same.step == first.step
    further = trainer(comm, shared_path / "run", early_stopping={"threshold": 0.001})
    assert further.fit() <= 0.001 and first.step < further.step < 200


@pytest.mark.parallel([1, 2])
def test_a_rule_without_anything_to_look_at_is_refused(comm):
    domain = decompose(Grid((16,)), comm)
    pairs = Pairs.of_whole(domain, *torch.zeros(2, 4, 1, 16))
    with pytest.raises(ConfigError, match="early_stopping looks at the loss on held-out data: hold some out"):
        Trainer(Conv1d(domain, 1, 1, 3, padding=1), pairs, early_stopping={"patience": 3})
    with pytest.raises(ConfigError, match="give patience, threshold or both"):
        trainer(comm, early_stopping={"min_gain": 0.1})
