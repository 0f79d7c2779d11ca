"""``hpcml bench memory``: what autograd keeps is counted once, and what many ranks keep of a block is no more than one rank keeps of it."""

import json

import pytest
import torch

from hpcml.cli.benchmarks import memory
from hpcml.cli.main import main


def test_each_storage_counts_once_and_parameters_do_not():
    model = torch.nn.Sequential(torch.nn.Conv1d(3, 5, 1), torch.nn.GELU(), torch.nn.Conv1d(5, 2, 1))
    assert memory.kept_fields(model, torch.randn(4, 3, 16)) == 3 + 5 + 5  # inputs of all three
    assert memory.kept_fields(lambda_of(lambda x: x * x + x * x[:, :1]), torch.randn(4, 3, 16, requires_grad=True)) == 3


@pytest.mark.parallel([4])
def test_figures_of_all_ranks(comm, capsys, monkeypatch):
    monkeypatch.setattr(memory, "CELLS", {2: 16})
    monkeypatch.setattr(memory, "CHANNELS", 2)
    monkeypatch.setattr(memory, "MODES", 4)
    assert main(["bench", "memory", "--json"]) == 0
    if comm.rank == 0:
        figures = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert all(figures[f"kept_ratio_{name}_2d_{ranks}"] > 0 for name in ("fno", "unet") for ranks in (1, 2, 4))
        assert all(figures[f"kept_ratio_unet_2d_{ranks}"] <= 1.02 for ranks in (1, 2, 4))


def lambda_of(function):
    module = torch.nn.Module()
    module.forward = function
    return module
