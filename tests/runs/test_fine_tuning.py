"""A run begins with what another has learned, keeps what it is told to keep, and says what it could not take."""

import pytest
import torch

import hpcml
from hpcml.core.case import Case
from hpcml.core.errors import CheckpointError, ConfigError
from hpcml.core.named import complete_config
from hpcml.fields import Grid, decompose
from hpcml.models.layers import Conv1d
from hpcml.runs.fine_tuning import freeze
from hpcml.runs.train_case import train_case


def case(channels=4, **training):
    tables = {
        "grid": {"shape": [16]},
        "equation": {"name": "heat"},
        "data": {"kind": "simulation", "trajectories": 2, "held_out": 1, "snapshots": 3, "interval": 0.05},
        "model": {"name": "fno", "channels": channels, "modes": 3, "layers": 2},
        "training": {"epochs": 1, "batch_size": 4, "dtype": "float64"} | training,
    }
    return complete_config(tables, Case, "case")


@pytest.mark.parallel([1, 2])
def test_a_run_begins_with_another_and_keeps_what_is_frozen(world, shared_path):
    train_case(case(), shared_path / "first", world)
    other = {"init_from": str(shared_path / "first"), "freeze": ["network.lift.*", "network.blocks.0.*"], "seed": 1}
    train_case(case(**other), shared_path / "second", world)
    first, second = (hpcml.load(shared_path / run, comm=world.comm).state_dict() for run in ("first", "second"))
    for name, value in first.items():
        kept = name.startswith(("network.lift.", "network.blocks.0.")) or not name.startswith("network.")
        assert torch.equal(value, second[name]) == kept, name
    train_case(case(**other, epochs=2), shared_path / "second", world)  # goes on: what was learned since is not taken back
    later = hpcml.load(shared_path / "second", comm=world.comm).state_dict()
    assert not any(torch.equal(later[name], first[name]) for name in first if name.startswith("network.project."))


@pytest.mark.parallel([1, 2])
def test_mistakes_are_told(world, shared_path):
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        train_case(case(init_from=str(shared_path / "nothing")), shared_path / "run", world)
    with decompose(Grid((8,)), world.comm) as domain:
        model = Conv1d(domain, 1, 1, 3)
        with pytest.raises(ConfigError, match="no parameter is called like 'biass'; there are weight, bias"):
            freeze(model, ["biass"])
        with pytest.raises(ConfigError, match="leaves no parameter that learns"):
            freeze(model, ["*"])
