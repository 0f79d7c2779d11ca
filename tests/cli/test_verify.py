"""`hpcml verify`: a case or the matrix, a table and a line of JSON from rank 0, and a status that says whether all agrees."""

import json

import pytest
import torch

from hpcml.cli.main import build_parser, main
from hpcml.core.errors import ConfigError
from hpcml.models.verification import operator_matrix

CASE = """
[ranks]
data = {groups}
[data]
kind = "tensors"
train = "{train}"
[model]
name = "fno"
channels = 4
modes = 3
layers = 1
"""


@pytest.fixture
def case(comm, shared_path):
    if comm.rank == 0:
        generator = torch.Generator().manual_seed(0)
        x, y = (torch.randn(8, 13, 12, generator=generator) for _ in range(2))
        torch.save({"x": x, "y": y}, shared_path / "train.pt")
        (shared_path / "case.toml").write_text(CASE.format(train=shared_path / "train.pt", groups=2 if comm.size == 4 else 1))
    comm.Barrier()
    return str(shared_path / "case.toml")


@pytest.mark.parallel([1, 2, 4])
def test_the_model_of_a_case_is_verified(comm, case, capsys):
    assert main(["verify", case, "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert bool(lines) == (comm.rank == 0)
    if lines:
        result = json.loads(lines[-1])
        assert result["ok"] and result["plain_layers"] == [] and result["error"] < 1e-12
        assert lines[-2].endswith("over ranks as on one") and "gradient of network.lift.layers.0.weight" in "\n".join(lines)


@pytest.mark.parallel([1, 2])
def test_the_matrix_is_counted(comm, capsys):
    assert main(["verify", "--matrix", "--every", "300", "--json"]) == 0
    if comm.rank == 0:
        result = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert list(result) == ["cases", "exact", "raised", "wrong"]
        assert result["cases"] == result["exact"] + result["raised"] > 0 and result["wrong"] == 0


@pytest.mark.parallel([2])
def test_a_wrong_case_is_listed_and_gives_status_one(comm, capsys, monkeypatch):
    monkeypatch.setattr(operator_matrix, "BOUND", {torch.float64: -1.0})  # nothing is as exact as that
    assert main(["verify", "--matrix", "--every", "600"]) == 1
    if comm.rank == 0:
        assert "wrong: Conv1d(" in capsys.readouterr().out


@pytest.mark.parallel([1, 2])
def test_either_a_case_or_the_matrix(comm):
    def run(*words):
        args = build_parser().parse_args(["verify", *words])
        return args.run(args)

    for words in ([], ["case.toml", "--matrix"]):
        with pytest.raises(ConfigError, match="either a CASE or --matrix"):
            run(*words)
