"""What `hpcml inspect` says of whole, damaged and missing checkpoints."""

import json

import numpy as np
import pytest

from hpcml.cli.main import main
from hpcml.io.checkpoint import summary


@pytest.fixture
def run(tmp_path):
    from mpi4py import MPI

    from hpcml.io import Checkpointer

    with Checkpointer(tmp_path / "checkpoints", MPI.COMM_SELF) as checkpointer:
        for step in (10, 20):
            checkpointer.save(step, {"model": {"weight": np.zeros((3, 4))}, "epoch": step // 10, "lr": [0.1]})
            checkpointer.wait()
    return tmp_path


def spoil(run, step):
    (file,) = run.glob(f"checkpoints/step-{step:09d}-*/rank-00000.h5")
    data = bytearray(file.read_bytes())
    data[2000] ^= 1
    file.write_bytes(data)


def test_a_run_shows_what_it_holds_and_how_to_go_on(run, capsys):
    assert main(["inspect", str(run)]) == 0
    out = capsys.readouterr().out
    for part in ("step 20", "step 10", "model/weight  float64 3 x 4, replicated", "epoch = 2", "lr/0 = 0.1", "goes on after step 20"):
        assert part in out


def test_a_damaged_checkpoint_is_named(run, capsys):
    spoil(run, 20)
    assert main(["inspect", str(run), "--json"]) == 0
    newest, older = json.loads(capsys.readouterr().out)
    assert not newest["complete"] and "does not match its checksum" in newest["problem"] and newest["step"] == 20
    assert older["complete"] and older["values"] == {"epoch": 1, "lr/0": 0.1} and older["ranks"] == 1


def test_nothing_whole_is_status_1(run, capsys):
    spoil(run, 20)
    (path,) = run.glob("checkpoints/step-000000020-*")
    assert main(["inspect", str(path / "rank-00000.h5")]) == 1
    out = capsys.readouterr().out
    assert "damaged: " in out and "Nothing here can be resumed from." in out
    (path / "commit.json").unlink()
    assert main(["inspect", str(path)]) == 1
    assert "never committed" in capsys.readouterr().out


def test_no_checkpoint_at_all_is_an_error(tmp_path, capsys):
    assert main(["inspect", str(tmp_path)]) == 2
    assert "is no checkpoint and holds none" in capsys.readouterr().err


def test_it_needs_neither_mpi_nor_torch(run):
    import subprocess
    import sys

    code = f"import sys; from hpcml.cli.main import main; main(['inspect', {str(run)!r}]); print({{'torch', 'mpi4py'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.endswith("set()\n"), done.stdout + done.stderr


def test_names_and_values_of_another_cannot_act_on_a_terminal(run, monkeypatch, capsys):
    def of_another(path):
        (summary, *_) = found(run / "checkpoints")
        evil = {"written_by": "x\x1b[2J", "arrays": [{"name": "größe\x1b[2J\nb", "dtype": "f4", "shape": [1], "placement": "copied"}]}
        return [summary | evil, {"path": str(path), "complete": False, "problem": "\x1b[2J"}]

    found = summary.summarise_run
    monkeypatch.setattr(summary, "summarise_run", of_another)
    assert main(["inspect", str(run)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("\\x1b[2J") == 3 and "größe" in shown and all(line.isprintable() for line in shown.split("\n"))


def test_a_folder_of_any_name_is_named(run, capsys):
    (run / "step-000000009-\x1b[2J").mkdir()
    main(["inspect", str(run)])
    assert all(line.isprintable() for line in capsys.readouterr().out.split("\n"))
