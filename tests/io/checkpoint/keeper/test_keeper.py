"""The keeper is never missed: it may be killed, the disk may fill up, and at the end it is gone."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI

from hpcml.io import Checkpointer, restore

SMALL_DISK = """
import sys, numpy as np
from mpi4py import MPI
from hpcml.core.errors import CheckpointError
from hpcml.io import Checkpointer
folder = sys.argv[1] + "/run"
with Checkpointer(folder, MPI.COMM_SELF) as checkpointer:
    checkpointer.save(1, {"w": np.ones(1 << 17)})
    checkpointer.wait()
    for attempt in range(2):
        try:
            checkpointer.save(2, {"w": np.ones(1 << 20)})
            checkpointer.wait()
        except CheckpointError as error:
            print(error)
    print("latest", checkpointer.latest(), checkpointer.restore().state["w"].sum())
    checkpointer.save(3, {"w": np.ones(1 << 17)})
"""
READ_ONLY = """
import subprocess, sys, numpy as np
from mpi4py import MPI
from hpcml.core.errors import CheckpointError
from hpcml.io import Checkpointer, restore
folder = sys.argv[1] + "/run"
with Checkpointer(folder, MPI.COMM_SELF) as checkpointer:
    checkpointer.save(1, {"w": np.ones(5)})
subprocess.run(["mount", "-o", "remount,ro", sys.argv[1]], check=True)
try:
    Checkpointer(folder, MPI.COMM_SELF)
except CheckpointError as error:
    print(error)
print("restored", restore(folder, MPI.COMM_SELF).step)
"""


def keepers(folder):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"checkpoint.keeper" in words and str(folder).encode() in words:
                found.append(int(entry.name))
    return found


def test_a_keeper_that_is_killed_is_replaced(tmp_path, caplog):
    with Checkpointer(tmp_path, MPI.COMM_SELF, keep=9) as checkpointer:
        for step in range(1, 5):
            checkpointer.save(step, {"w": np.full(1000, float(step))})
            checkpointer.wait()
            (keeper,) = keepers(tmp_path)
            os.kill(keeper, signal.SIGKILL)
    assert "another one takes its place" in caplog.text
    assert keepers(tmp_path) == []
    for step in range(1, 5):
        assert (restore(tmp_path, MPI.COMM_SELF, step=step).state["w"] == step).all()


def test_a_keeper_killed_before_it_writes_is_replaced_by_one_that_does(tmp_path):
    with Checkpointer(tmp_path, MPI.COMM_SELF) as checkpointer:
        checkpointer.save(1, {"w": np.ones(1000)})
        checkpointer.wait()
        for step in (2, 3):
            (keeper,) = keepers(tmp_path)
            os.kill(keeper, signal.SIGSTOP)  # it hears nothing of this save
            checkpointer.save(step, {"w": np.full(1000, float(step))})
            os.kill(keeper, signal.SIGKILL)
            checkpointer.wait()
            assert checkpointer.latest() == step
    assert (restore(tmp_path, MPI.COMM_SELF).state["w"] == 3).all()


def test_an_exception_leaves_the_last_save_on_disk_and_no_process(tmp_path):
    with pytest.raises(ZeroDivisionError), Checkpointer(tmp_path, MPI.COMM_SELF, linger=0.0) as checkpointer:
        for step in range(1, 8):
            checkpointer.save(step, {"w": np.full(1000, float(step))})
        _ = 1 / 0
    while keepers(tmp_path):  # as long as the machine takes for it; the test's own limit counts
        time.sleep(0.05)
    assert (restore(tmp_path, MPI.COMM_SELF).state["w"] == 7).all()


def run_on(small_disk, tmp_path, program):
    (tmp_path / "program.py").write_text(program)
    return small_disk(f"exec {sys.executable} {tmp_path}/program.py $DISK")


def test_a_full_disk_is_one_clear_error_and_the_last_checkpoint_stays(small_disk, tmp_path):
    done = run_on(small_disk, tmp_path, SMALL_DISK)
    assert done.stdout.count("the disk is full: free some space, or keep fewer checkpoints") == 2, done.stdout + done.stderr
    assert "latest 1 131072.0" in done.stdout and done.returncode == 0, done.stderr


def test_a_read_only_folder_is_one_clear_error_and_can_be_read(small_disk, tmp_path):
    done = run_on(small_disk, tmp_path, READ_ONLY)
    assert "the file system is read-only: choose another folder" in done.stdout, done.stdout + done.stderr
    assert "restored 1" in done.stdout
