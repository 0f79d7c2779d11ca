"""Every case in docs/examples is one, and runs from a fresh clone unless it says where its data come from."""

from pathlib import Path

import pytest

from hpcml.core.case import Case
from hpcml.core.errors import ConfigError
from hpcml.core.named import load_complete
from hpcml.runs.experiment import open_experiment

EXAMPLES = sorted((Path(__file__).parents[2] / "docs" / "examples").glob("*.toml"))
SMALL = ["data.trajectories=2", "data.held_out=1", "data.snapshots=2", "data.interval=1e-3", "data.spin_up=0.0"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_its_data_are_there_or_the_error_and_the_text_say_where_from(path, comm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    case = load_complete(path, Case)
    if case.data.kind == "simulation":
        experiment = open_experiment(load_complete(path, Case, SMALL), comm)
        experiment.surrogate()
        assert experiment.train.num_samples == 2
    elif case.data.kind == "online":
        experiment = open_experiment(load_complete(path, Case, ["data.held_out=1", "data.steps=3"]), comm)
        assert experiment.surrogate().network is not None and experiment.train.num_samples == 3 - (case.data.inputs == "state")
    else:
        with pytest.raises(ConfigError, match="there is no file .*: data.train and data.test are relative to where the command runs"):
            open_experiment(case, comm)
        assert "https://" in path.read_text().partition("[data]")[0]
