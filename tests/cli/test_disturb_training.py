"""A run through kills, stops and full disks: `disturb_training.py`, a few times. By hand: 60 times."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(600)
def test_nothing_is_lost(small_disk, mpiexec):
    del small_disk  # skips where there is none
    script = Path(__file__).with_name("disturb_training.py")
    command = [sys.executable, script, "2", "--ranks", "1", "--epochs", "20"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=590, env=mpiexec.env)
    assert done.returncode == 0 and "every row, line and result was there" in done.stdout, done.stdout + done.stderr
