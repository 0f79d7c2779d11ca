"""A training run that is killed, then told to stop, then let finish is, to the last bit, the run that never stopped."""

import csv
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import tomli_w
import torch

LAST = 180  # updates: three an epoch
FURTHER = 20  # at least, after each restart


def start(mpiexec, ranks, folder, run):
    command = mpiexec.command(ranks, "-m", "hpcml", "train", folder / "case.toml", "--run", run)
    return subprocess.Popen(command, env=mpiexec.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def saved_steps(run):
    return [int(re.search(r"step-(\d+)-", path.parent.name)[1]) for path in (run / "checkpoints").glob("step-*-*/commit.json")]


def wait_for_step(job, run, step):
    """Wait until a checkpoint of this step or a later one is complete; return which."""
    deadline = time.monotonic() + 300
    while not (found := [saved for saved in saved_steps(run) if saved >= step]):
        assert job.poll() is None and time.monotonic() < deadline, job.communicate()[0]
        time.sleep(0.005)
    assert max(found) <= LAST - FURTHER, "too late to stop anything: train longer"
    return max(found)


def ranks_of(run):
    """Process ids of the ranks: not of the launcher, and not of the processes that keep the checkpoints."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(run).encode() in words and words[1:3] == [b"-m", b"hpcml"]:
            yield int(entry.name)


def result(run):
    """Rows of the metrics, without what is no result, and the state at the end."""
    from mpi4py import MPI

    from hpcml.io import restore

    with (run / "metrics.csv").open(newline="") as file:
        rows = [{key: value for key, value in row.items() if key not in ("seconds", "bytes_sent")} for row in csv.DictReader(file)]
    restored = restore(run / "checkpoints", MPI.COMM_SELF)
    assert restored.step == LAST and len(rows) == 60
    return rows, restored.state["model"], restored.state["optimiser"]["state"]


def arrays(tree):
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from arrays(value)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, mpiexec, small_case):
    """Folder with the run that never stopped and, cut short at an update within an epoch, the one that was killed and told to stop."""
    folder = tmp_path_factory.mktemp("runs")
    training = small_case["training"] | {"epochs": 60, "checkpoint_share": 0.5}
    (folder / "case.toml").write_text(tomli_w.dumps(small_case | {"training": training}))
    whole = start(mpiexec, 2, folder, folder / "whole")
    assert whole.wait(timeout=300) == 0, whole.communicate()[0]
    job = start(mpiexec, 2, folder, folder / "parts")
    step = wait_for_step(job, folder / "parts", 10)
    for rank in ranks_of(folder / "parts"):
        os.kill(rank, signal.SIGKILL)
    assert job.wait(timeout=300) != 0
    job = start(mpiexec, 2, folder, folder / "parts")
    wait_for_step(job, folder / "parts", step + FURTHER)
    job.send_signal(signal.SIGUSR1)
    out, _ = job.communicate(timeout=300)
    # From memory, unless the machine is so busy that the keepers have gone home.
    assert job.returncode == 85 and re.search(r"resuming after update \d+ from .* \((memory|disk)\)", out), out
    stopped = int(re.search(r"stopped as asked after update (\d+)", out)[1])
    assert max(saved_steps(folder / "parts")) == stopped <= LAST - FURTHER
    return folder


@pytest.mark.parametrize("ranks", [2, 1])
def test_the_run_that_was_stopped_ends_as_the_one_that_never_was(runs, mpiexec, alone, tmp_path, ranks):
    shutil.copytree(runs / "parts", tmp_path / "run")
    words = ("train", runs / "case.toml", "--run", tmp_path / "run")
    done = alone(*words) if ranks == 1 else mpiexec(ranks, "-m", "hpcml", *words)
    assert done.returncode == 0, done.stderr
    rows, *states = result(tmp_path / "run")
    expected, *expected_states = result(runs / "whole")
    if ranks == 2:
        assert rows == expected
    for ours, theirs in zip(arrays(dict(enumerate(states))), arrays(dict(enumerate(expected_states))), strict=True):
        if ranks == 2:
            assert torch.equal(ours, theirs)
        else:
            torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)  # sums in another order, through some 100 steps of Adam
