"""A script of one's own trains, goes on and predicts, as the how-to says; the model of a run loads on any ranks and grid."""

import re
from pathlib import Path

import pytest
import torch
from mpi4py import MPI

import hpcml
from hpcml.core.case import Case
from hpcml.core.errors import CheckpointError, ConfigError
from hpcml.core.named import complete_config
from hpcml.data import Pairs
from hpcml.fields import Grid, decompose
from hpcml.io.checkpoint import restore
from hpcml.models.layers import Conv2d
from hpcml.runs.train_case import train_case
from hpcml.training import Trainer

HOWTO = (Path(__file__).parents[2] / "docs" / "howto" / "train_in_python.md").read_text(encoding="utf-8")


@pytest.mark.parallel([1, 2, 3])
def test_the_how_to_trains_goes_on_and_predicts(comm, shared_path, monkeypatch):
    monkeypatch.chdir(shared_path)
    train, predict = re.findall(r"```python\n(.*?)```", HOWTO, re.S)
    assert len([line for line in train.splitlines() if line and not line.startswith("import")]) <= 12
    assert len([line for line in predict.splitlines() if line and not line.startswith("import")]) <= 3
    names: dict = {}
    exec(train, names)
    assert names["trainer"].epoch == 3
    first = names["trainer"].numbers["train_loss"]
    exec(train.replace("epochs=3", "epochs=5"), names)
    assert names["trainer"].epoch == 5 and names["trainer"].numbers["train_loss"] < first
    if comm.rank == 0:
        assert len((shared_path / "runs/first/metrics.csv").read_text().splitlines()) == 1 + 5
    exec(predict, names)
    for ours, expected in zip(names["model"].state_dict().values(), names["trainer"].model.state_dict().values(), strict=True):
        assert torch.equal(ours, expected)


@pytest.mark.parallel([1, 2, 3])
def test_the_model_of_a_run_loads_on_any_ranks_and_grid(world, shared_path):
    tables = {
        "grid": {"shape": [16, 16]},
        "equation": {"name": "navier_stokes"},
        "data": {"kind": "simulation", "trajectories": 2, "held_out": 1, "snapshots": 3, "interval": 0.05},
        "model": {"name": "fno", "channels": 4, "modes": 3, "layers": 2},
        "training": {"epochs": 2, "batch_size": 1, "dtype": "float64", "steps": 2, "ema": 0.9},
    }
    train_case(complete_config(tables, Case, "case"), shared_path / "run", world)
    whole = torch.randn(1, 1, 20, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    alone = hpcml.load(shared_path / "run", shape=(20, 24), comm=MPI.COMM_SELF)(whole)
    model = hpcml.load(shared_path / "run", shape=(20, 24), comm=world.comm)
    torch.testing.assert_close(model.domain.gather(model(whole[model.domain.index])), alone, rtol=1e-10, atol=1e-12)
    assert hpcml.load(shared_path / "run", comm=world.comm).domain.global_shape == (16, 16)
    saved = restore(shared_path / "run" / "checkpoints", world.comm).state
    for name, parameter in model.named_parameters():
        mean = torch.as_tensor(saved["average"]["values"][name])
        assert torch.equal(parameter, mean) and not torch.equal(parameter, torch.as_tensor(saved["model"][name]))


@pytest.mark.parallel([1, 2])
def test_mistakes_are_told(comm, shared_path):
    domain = decompose(Grid((8, 8)), comm)
    data = Pairs.of_whole(domain, torch.zeros(4, 1, 8, 8), torch.ones(4, 1, 8, 8))
    model = Conv2d(domain, 1, 1, 1)
    with pytest.raises(ConfigError, match="Trainer: unknown key learning_rat: did you mean learning_rate"):
        Trainer(model, data, learning_rat=1)
    with pytest.raises(ConfigError, match="has no config.toml that says how its model is built"):
        hpcml.load(shared_path / "nothing", comm=comm)
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        hpcml.load(shared_path / "nothing", model, comm=comm)
    Trainer(model, data, folder=shared_path / "run").fit(epochs=1)
    with pytest.raises(CheckpointError, match="is of another model"):
        hpcml.load(shared_path / "run", Conv2d(domain, 2, 1, 1), comm=comm)


@pytest.mark.parallel([1, 2])
def test_an_optimiser_whose_step_takes_nothing_will_do(comm):
    class Plain(torch.optim.Optimizer):
        def step(self):
            with torch.no_grad():
                for parameter in self.param_groups[0]["params"]:
                    parameter -= self.param_groups[0]["lr"] * parameter.grad

    with decompose(Grid((8, 8)), comm) as domain:
        model = Conv2d(domain, 1, 1, 1)
        data = Pairs.of_whole(domain, torch.ones(4, 1, 8, 8), 2 * torch.ones(4, 1, 8, 8))
        trainer = Trainer(model, data, loss="mse", optimiser=Plain(model.parameters(), {"lr": 0.1}), learning_rate=0.1, schedule="constant")
        assert trainer.fit(epochs=50) < 1e-6


@pytest.mark.parallel([1, 2])
def test_lbfgs_looks_at_several_points_and_finds_the_one_rank_answer(comm):
    def fitted(comm):
        torch.manual_seed(0)
        with decompose(Grid((8, 8)), comm) as domain:
            x = torch.randn(8, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
            model = Conv2d(domain, 1, 1, 3, padding=1, padding_mode="circular").double()
            seen = []
            optimiser = {"name": "lbfgs", "line_search_fn": "strong_wolfe"}
            trainer = Trainer(
                model,
                Pairs.of_whole(domain, x, x.roll(1, -1)),
                loss="mse",
                optimiser=optimiser,
                learning_rate=1.0,
                schedule="constant",
                callbacks=[lambda trainer: seen.append(trainer.numbers["train_loss"])],
                dtype="float64",
            )
            trainer.fit(epochs=5)
            return seen

    losses = fitted(comm)
    assert losses[-1] < 1e-6 * losses[0]  # a shift is a convolution and the loss a square, where five steps of a gradient leave a tenth
    assert losses == pytest.approx(fitted(MPI.COMM_SELF), rel=1e-3, abs=1e-20)
