"""A model is measured on what it has not seen; one whose predictions are no numbers is no good model."""

import json

import pytest
import torch

from hpcml.core.case import Case
from hpcml.core.errors import TrainingError
from hpcml.runs import evaluation
from hpcml.runs.experiment import open_experiment

CASE = {
    "grid": {"shape": (8,)},
    "equation": {"name": "heat"},
    "data": {"kind": "simulation", "trajectories": 1, "held_out": 2, "snapshots": 2},
    "model": {"name": "fno", "channels": 2, "modes": 2, "layers": 1},
    "training": {"batch_size": 1},
}


@pytest.mark.parallel([1, 2])
def test_one_prediction_that_is_not_finite_is_told_and_not_left_out_of_the_mean(comm, shared_path, monkeypatch, caplog):
    case = Case(**CASE)
    experiment = open_experiment(case, comm)
    state = experiment.surrogate().network.state_dict()
    counted = iter(range(100))

    class Broken(torch.nn.Module):
        def forward(self, x):
            return x * torch.nan if next(counted) == 0 else x

    monkeypatch.setattr(evaluation, "load_surrogate", lambda *_: Broken())
    with pytest.raises(TrainingError, match=r"predictions are not finite: 1 of \d+ on held out; the model has diverged"):
        evaluation.evaluate(case, experiment.held_out, state, shared_path, comm)
    assert "zero everywhere" not in caplog.text
    written = (shared_path / "evaluation.json").read_text()
    assert json.loads(written)["relative_l2"] == {"held out": None} and "Infinity" not in written
