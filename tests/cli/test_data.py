"""Datasets as a user makes, changes and learns from them, on real ranks, through a kill."""

import hashlib
import json
import os
import signal
import subprocess
import time

import h5py
import numpy as np
import pytest
from the_well.data import WellDataset

from hpcml.io.dataset import open_dataset

PROBLEM = """
[grid]
shape = [16, 16]

[equation]
name = "shallow_water"

[data]
kind = "simulation"
trajectories = 8
held_out = 2
snapshots = 4
interval = 0.02
"""

LEARN = """
[data]
kind = "dataset"
path = "{0}/data/train"
test = ["{0}/data/valid"]

[model]
name = "fno"
channels = 4
modes = 3
layers = 2

[training]
epochs = 2
batch_size = 4
dtype = "float64"
"""


def hpcml(mpiexec, ranks, *words):
    return mpiexec(ranks, "-m", "hpcml", *words)


def digests(folder):
    return {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*.hdf5"))}


@pytest.fixture(scope="module")
def made(tmp_path_factory, mpiexec):
    """The dataset, made on one rank."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "case.toml").write_text(PROBLEM)
    done = hpcml(mpiexec, 1, "data", "generate", folder / "case.toml", "--out", folder / "waves")
    assert done.returncode == 0 and "complete: " in done.stdout, done.stderr
    return folder


def test_the_wells_loader_reads_it(made):
    train = WellDataset(path=str(made / "waves"), well_split_name="train")
    assert len(train) == 8 * 3 and train[0]["input_fields"].shape == (1, 16, 16, 3)
    assert len(WellDataset(path=str(made / "waves"), well_split_name="valid")) == 2 * 3
    assert train[5]["boundary_conditions"].tolist() == [[2, 2], [2, 2]]  # periodic
    with open_dataset(made / "waves" / "data" / "train") as dataset:
        assert dataset.description.constants["depth_constant"] == (1.0,) and dataset.description.channels[0] == "depth"
        assert dataset.read(0)[:, 0].mean() == pytest.approx(1.0, rel=1e-6)  # mass is kept; float32 rounds


def test_any_number_of_ranks_makes_the_same_files_and_a_kill_does_not_change_them(made, mpiexec, tmp_path):
    command = mpiexec.command(3, "-m", "hpcml", "data", "generate", made / "case.toml", "--out", tmp_path / "waves")
    progress = tmp_path / "waves" / "data" / "train" / "waves.hdf5.progress"
    job = subprocess.Popen(command, env=mpiexec.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while job.poll() is None and not (progress.exists() and b"x" in progress.read_bytes().splitlines()[-1]):
        time.sleep(0.002)
    killed = progress.exists()
    if killed:
        os.kill(json.loads((progress.parent / ".lock").read_text())["pid"], signal.SIGKILL)
    job.communicate(timeout=60)
    assert killed and progress.with_suffix(".partial").exists()
    done = hpcml(mpiexec, 2, "data", "generate", made / "case.toml", "--out", tmp_path / "waves")
    assert done.returncode == 0 and "8 trajectories, 0 of them" not in done.stdout, done.stderr
    assert digests(tmp_path / "waves") == digests(made / "waves")
    assert not list(tmp_path.rglob("*.partial")) and not list(tmp_path.rglob("*.progress"))


def test_it_is_shown_and_every_rank_reads_its_share(made, mpiexec):
    done = hpcml(mpiexec, 2, "data", "show", made / "waves" / "data" / "train", "--values")
    assert done.returncode == 0, done.stderr
    for line in ("trajectories: 8", "times: 4, 0 to 0.06", "field momentum: vector", *(f"rank {r} read 0.05 MB, 50.0 %" for r in range(2))):
        assert line in done.stdout, done.stdout


def test_it_becomes_pdebenchs(made, mpiexec, tmp_path):
    source = made / "waves" / "data" / "train"
    done = hpcml(mpiexec, 2, "data", "convert", source, tmp_path / "waves.h5", "--to", "pdebench")
    assert done.returncode == 0 and "8 trajectories of depth, momentum" in done.stdout, done.stderr
    with open_dataset(source) as dataset, h5py.File(tmp_path / "waves.h5") as groups:
        for trajectory in range(8):
            assert np.array_equal(np.moveaxis(groups[f"{trajectory:04d}/data"][()], -1, 1), dataset.read(trajectory))


def test_it_is_trained_on_and_every_rank_reads_its_share(made, mpiexec, tmp_path):
    (tmp_path / "case.toml").write_text(LEARN.format(made / "waves"))
    done = hpcml(mpiexec, 2, "train", tmp_path / "case.toml", "--run", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "rank 0 read 0.05 MB, 50.0 % of the 0.10 MB of waves" in done.stdout, done.stdout  # once, through two epochs and all statistics
    (error,) = json.loads((tmp_path / "run" / "evaluation.json").read_text())["relative_l2"].values()
    assert 0 < error < 1
