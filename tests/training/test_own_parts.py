"""One's own model, equation, loss, schedule and optimiser go through a whole run, as the how-to says; what is not shared is told."""

import csv
import re
import tomllib
from pathlib import Path

import pytest
import torch
from mpi4py import MPI

from hpcml.core.case import Case
from hpcml.core.errors import ConfigError, TrainingError
from hpcml.core.named import complete_config
from hpcml.core.options import Choice
from hpcml.fields import Grid, decompose
from hpcml.models.factory import build_network
from hpcml.runs.rollout_case import rollout_case
from hpcml.runs.train_case import train_case
from hpcml.topology.block import block_range
from hpcml.training.loss import mse

HOWTO = (Path(__file__).parents[2] / "docs" / "howto" / "own_parts.md").read_text(encoding="utf-8")

MORE = '''

from dataclasses import dataclass

from hpcml.equations import Equation


@dataclass(frozen=True)
class Decay(Equation):
    """du/dt = -rate u"""

    rate: float = 1.0

    def channels(self, num_dims):
        return ("u",)

    def tendency(self, state, domain):
        return -self.rate * state

    def initial_state(self, domain, samples, seed=0):
        x, y = domain.centres()
        return torch.stack([torch.sin(6.28 * (x + y + 0.1 * n)) for n in samples])[:, None]

    def stable_step(self, domain, state=None):
        return 1.0 / self.rate


class Outside(Net):
    """With a parameter whose gradient nobody sums."""

    def __init__(self, domain, in_channels: int, out_channels: int) -> None:
        super().__init__(domain, in_channels, out_channels)
        self.gate = torch.nn.Parameter(torch.ones(1))

    def forward(self, u):
        return self.gate * super().forward(u)


class Whole(torch.nn.Sequential):
    """Of torch's layers alone."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(torch.nn.Conv2d(in_channels, out_channels, 3, padding=1, padding_mode="circular"))


def local(domain, prediction, target):
    return (prediction - target).square().mean()
'''


@pytest.fixture
def mine(comm, shared_path, monkeypatch):
    """The how-to's module, and more, where Python finds it; and its tables of a case."""
    if comm.rank == 0:
        (shared_path / "mine.py").write_text(re.search(r"```python\n(.*?)```", HOWTO, re.S)[1] + MORE)
    comm.Barrier()
    monkeypatch.syspath_prepend(str(shared_path))
    return tomllib.loads(re.search(r"```toml\n(.*?)```", HOWTO, re.S)[1])


def case_of(tables, model=None, **training):
    training = {"epochs": 2, "batch_size": 4, "dtype": "float64"} | tables["training"] | training
    equation = {"name": "mine:Decay", "rate": 2.0}
    data = {"kind": "simulation", "trajectories": 4, "held_out": 1, "snapshots": 4, "interval": 0.1}
    rest = {"model": model or tables["model"], "training": training, "output": {"rollout_steps": 2}}
    return complete_config({"grid": {"shape": [12, 12]}, "equation": equation, "data": data} | rest, Case, "case")


@pytest.mark.parallel([1, 2, 3])
def test_they_train_restart_and_roll_out(world, shared_path, mine):
    case, run = case_of(mine), shared_path / "run"
    errors = train_case(case, run, world)
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx([1e-3, 1e-3])  # the warm-up is over after a fifth
    assert float(rows[1]["train_loss"]) < float(rows[0]["train_loss"])
    assert train_case(case, run, world) == errors  # finished: nothing is done again
    assert len(rollout_case(run, world)["model"]) == 2


@pytest.mark.parallel([2])
@pytest.mark.parametrize(
    ("model", "training", "error", "words"),
    [
        (None, {"loss": "mine:local"}, TrainingError, "sum what is local with hpcml.parallel.global_sum"),
        ({"name": "mine:Outside"}, {}, ConfigError, "network.gate on rank 1 of 2: it is used outside the layers"),
        ({"name": "mine:Whole"}, {}, ConfigError, "takes no domain, so it computes on whole fields, and here 2 ranks share each"),
    ],
)
def test_what_is_not_shared_ends_the_run_with_its_name(world, shared_path, mine, model, training, error, words):
    with pytest.raises(error) as caught:
        train_case(case_of(mine, model, **training), shared_path / "run", world)
    assert words in str(caught.value)


@pytest.mark.parallel([1, 2])
def test_a_plain_torch_model_learns_in_groups_what_it_learns_alone(comm, mine):
    def weights(comm, domain):
        model = build_network(Choice(name="mine:Whole"), domain, 1, 1, dtype=torch.float64)
        whole = torch.randn(4, 1, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        share = block_range(4, domain.num_data, domain.data_index)
        x = whole[share.start : share.stop]
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            optimiser.zero_grad()
            mse(domain, model(x), x.roll(1, -1)).backward()
            optimiser.step()
        return model.state_dict()

    with decompose(Grid((12, 12)), comm, data=comm.size) as groups, decompose(Grid((12, 12)), MPI.COMM_SELF) as alone:
        for ours, expected in zip(weights(comm, groups).values(), weights(MPI.COMM_SELF, alone).values(), strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-14)  # sums in another order
