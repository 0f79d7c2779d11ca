"""A trainer learns from whatever gives updates: fields that come while it trains, without epochs, resumable at any update."""

import csv

import pytest
import torch

from hpcml.core.errors import ConfigError, TrainingError
from hpcml.data import Pairs, Stream
from hpcml.fields import Grid, decompose
from hpcml.io.checkpoint import Checkpointer
from hpcml.models.layers import Conv2d
from hpcml.training import Trainer
from hpcml.training.position import Position

SHAPE = (8, 6)


class Simulation(Stream):
    """A state that is moved and mixed while one trains, in two parts of unequal weight; group by group the same."""

    def __init__(self, domain, last=None):
        self.space, self.last, self.done = domain, last, 0
        self.state = torch.randn(3, 1, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def __iter__(self):
        while self.done != self.last:
            self.done += 1
            before, self.state = self.state, 0.7 * self.state + 0.3 * self.state.flip(0).roll(1, -1)
            x, y = before[self.space.index], self.state[self.space.index]
            yield [(x[:2], y[:2], 2 / 3), (x[2:], y[2:], 1 / 3)]

    def state_dict(self):
        return {"state": self.state, "done": self.done}

    def load_state_dict(self, state):
        self.state, self.done = state["state"], state["done"]


def trainer(domain, stream=None, **options):
    torch.manual_seed(0)
    model = Conv2d(domain, 1, 1, 3, padding=1, padding_mode="circular").double()
    valid = Pairs(domain, *(torch.ones(2, 1, *domain.local_shape, dtype=torch.float64) for _ in range(2)))
    settings = {"loss": "mse", "learning_rate": 1e-2, "dtype": "float64", **options}
    return Trainer(model, stream or Simulation(domain), valid, **settings)


def weights(run):
    return [p.detach().clone() for p in run.model.parameters()]


@pytest.mark.parallel([1, 2])
def test_it_is_stopped_and_gone_on_with_at_any_update_and_gives_a_row_every_some(comm, shared_path):
    with decompose(Grid(SHAPE), comm) as domain:
        whole = trainer(domain, folder=shared_path / "whole", updates=7, validate_every=3)
        loss = whole.fit()
        alone = trainer(domain.serial(), updates=7)
        alone.fit()
        for ours, expected in zip(weights(whole), weights(alone), strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-12)  # sums in another order
        seen, folder = [], shared_path / "run"
        first = trainer(domain, updates=7, validate_every=3, checkpointer=Checkpointer(folder / "checkpoints", comm, lazy=True))
        first._stop = type("Stop", (), {"agreed": lambda self: first.step == 2})()
        first.fit()
        first.checkpointer.close()
        assert first.stopped and first.step == 2
        second = trainer(domain, folder=folder, updates=7, validate_every=3, callbacks=[lambda run: seen.append(run.step)])
        assert second.fit() == loss and seen == [3, 6, 7]
        assert all(torch.equal(a, b) for a, b in zip(weights(second), weights(whole), strict=True))
        if comm.rank == 0:
            with (shared_path / "whole" / "metrics.csv").open(newline="") as file:
                rows = list(csv.DictReader(file))
            assert [row["step"] for row in rows] == ["3", "6", "7"] and "epoch" not in rows[0]
            assert float(rows[-1]["valid_loss"]) == loss


@pytest.mark.parallel([1, 2])
def test_data_that_end_end_training_and_endless_ones_need_to_be_told_how_long(comm):
    with decompose(Grid(SHAPE), comm) as domain:
        run = trainer(domain, Simulation(domain, last=4), updates=10, validate_every=3)
        run.fit()
        assert run.step == 4 and run.numbers["step"] == 4
        with pytest.raises(ConfigError, match="the data have no epochs: say how many updates"):
            trainer(domain).fit(epochs=3)


@pytest.mark.parallel([2, 3])
def test_a_stream_that_ends_on_one_rank_alone_is_told_on_every_rank(comm):
    with decompose(Grid(SHAPE), comm) as domain:
        run = trainer(domain, Simulation(domain, last=2 if comm.rank == 1 else 4), updates=10)
        with pytest.raises(TrainingError, match=f"the stream has another update on {comm.size - 1} of {comm.size} ranks"):
            run.fit()
        assert run.step == 2


class Odd(Simulation):
    def __init__(self, domain, change):
        super().__init__(domain)
        self.change = change

    def __iter__(self):
        return map(self.change, super().__iter__())


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda parts: parts[:1], "the weights of an update's parts sum to 0.666667"),
        (lambda parts: [(x, y, 1.0) for x, y, _ in parts], "the weights of an update's parts sum to 2"),
        (lambda parts: [(x[:0], y[:0], weight) for x, y, weight in parts], "the stream gave an update without samples"),
    ],
    ids=["less", "more", "none"],
)
def test_weights_sum_to_1_and_are_those_of_samples(comm, change, words):
    with decompose(Grid(SHAPE), comm) as domain:
        run = trainer(domain, Odd(domain, change), updates=10)
        before = weights(run)
        with pytest.raises(TrainingError, match=words):
            run.fit()
        assert run.step == 0 and all(map(torch.equal, weights(run), before))


@pytest.mark.parallel([1, 2])
def test_stored_data_are_learned_from_by_updates_too(comm):
    with decompose(Grid(SHAPE), comm) as domain:
        x = torch.randn(8, 1, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        told = []
        options = {"batch_size": 2, "validate_every": 3, "callbacks": [lambda run: told.append((run.step, run.epoch))]}
        run = trainer(domain, Pairs.of_whole(domain, x, x.roll(1, -1)), **options)
        run.fit(updates=7)
        assert told == [(3, 0.75), (6, 1.5), (7, 1.75)]
        run.fit(epochs=2)  # eight updates
        assert told[3:] == [(8, 2)] and run.numbers["epoch"] == 2


def test_a_checkpoint_of_version_0_1_says_where_it_stands():
    saved = {"epoch": 2, "update": 3, "loss": 0.5, "gradient_norm": 1.0, "seconds": 2.0}
    assert Position.of_state(saved, num_updates=4) == Position(11, 3, 0.5, 1.0, 2.0)
