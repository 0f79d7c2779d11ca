"""Training while simulations run as a user does it, on real ranks, from the how-to: one command, one run directory, one error."""

import json
import os
import re
import signal
import subprocess
import time
import tomllib
from pathlib import Path

import pytest

HOWTO = Path(__file__).parents[2] / "docs" / "howto" / "train_while_simulations_run.md"
MANY = ("--set", "data.simulations=100000", "--set", "data.sampler=rods:Nearby")
FAILING = """

def failing(number):
    if number == 3:
        raise RuntimeError("the mesh is tangled")
    yield from 20 * [np.zeros(24)]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder with what the how-to has, and a solver that fails."""
    folder = tmp_path_factory.mktemp("online")
    text = HOWTO.read_text(encoding="utf-8")
    code, sampler = re.findall("```python\n(.*?)```", text, re.DOTALL)
    case = re.search("```toml\n(.*?)```", text, re.DOTALL)[1]
    assert len(code.splitlines()) < 30
    (folder / "rods.py").write_text(code + sampler + FAILING)
    (folder / "case.toml").write_text(case)
    return folder


def start(mpiexec, ranks, folder, *words):
    command = mpiexec.command(ranks, "-m", "hpcml", "online", "case.toml", *words)
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return subprocess.Popen(command, env=mpiexec.env, cwd=folder, **options)


def test_the_how_to_runs_until_a_signal_stops_it_and_is_measured(mpiexec, alone, folder, monkeypatch):
    run = folder / "runs" / "rod"
    job = start(mpiexec, 3, folder, "--run", run, "--set", "training.updates=1000000", *MANY)
    deadline = time.monotonic() + 200
    while not list(run.glob("checkpoints/step-*/commit.json")):
        assert job.poll() is None and time.monotonic() < deadline, job.communicate()
        time.sleep(0.05)
    job.send_signal(signal.SIGUSR1)
    out, err = job.communicate(timeout=200)
    assert job.returncode == 85 and "stopped as asked" in out and "0 doubled" in out, (job.returncode, out, err)
    assert alone("inspect", run).stdout.startswith("run stopped after step")
    monkeypatch.syspath_prepend(str(folder))
    evaluated = alone("evaluate", run)
    assert evaluated.returncode == 0 and (run / "evaluation.json").exists(), evaluated.stderr


def test_a_solver_that_raises_ends_the_job_with_one_error(mpiexec, folder):
    job = start(mpiexec, 3, folder, "--run", folder / "runs" / "bad", "--set", "data.simulation=rods:failing")
    out, err = job.communicate(timeout=300)
    assert job.returncode == 2, (out, err)
    assert err.count("hpcml: error:") == 1 and "RuntimeError: the mesh is tangled" in err and "Traceback" not in err, err


def test_a_solver_in_c_on_two_ranks_feeds_a_trainer_as_its_how_to_says(mpiexec, mpi_compilers, folder):
    text = HOWTO.with_name("train_on_a_solver_in_c.md").read_text(encoding="utf-8")
    (folder / "rod.c").write_text(re.search("```c\n(.*?)```", text, re.DOTALL)[1])
    (folder / "librod.so").unlink(missing_ok=True)
    script = re.search("```sh\n(.*?)```", text, re.DOTALL)[1]
    path = os.pathsep.join([str(mpi_compilers), os.environ["PATH"]])
    built = subprocess.run(["bash", "-euc", script], cwd=folder, env=mpiexec.env | {"PATH": path}, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    named = tomllib.loads(re.search("```toml\n(.*?)```", text, re.DOTALL)[1])
    choice = '{ name = "shared_library", path = "librod.so" }'
    assert named["data"]["simulation"] == {"name": "shared_library", "path": "librod.so"} and named["ranks"] == {"per_simulation": 2}
    run = folder / "runs" / "compiled"
    words = "--run", run, "--set", f"data.simulation={choice}", "--set", "ranks.per_simulation=2", "--set", "training.updates=20"
    job = start(mpiexec, 3, folder, *words)
    out, err = job.communicate(timeout=300)
    assert job.returncode == 0, (out, err)
    errors = json.loads((run / "evaluation.json").read_text())["errors"]["held out"]
    assert len(errors) == 4 * 20 and max(errors) < 2


def test_a_run_ends_with_a_report_that_can_be_drawn_again(mpiexec, alone, folder):
    pytest.importorskip("matplotlib")
    run = folder / "runs" / "short"
    job = start(mpiexec, 2, folder, "--run", run, "--set", "training.validate_every=20")
    out, err = job.communicate(timeout=300)
    picture = run / "report.png"
    assert job.returncode == 0 and f"{picture}" in out, (out, err)
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 20_000
    picture.unlink()
    again = alone("export", run, "--report")
    assert again.returncode == 0 and picture.exists(), again.stderr
    errors = json.loads((run / "evaluation.json").read_text())["errors"]["held out"]
    assert len(errors) == 4 * 20 and all(0 < error < 2 for error in errors)
    (run / "evaluation.json").unlink()
    missing = alone("export", run, "--report")
    assert missing.returncode == 2 and "a report is made once a run has ended" in missing.stderr
