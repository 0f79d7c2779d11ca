"""Three random kills of a writer while a reader follows; `tests/io/kill_snapshots.py 50` does more of them by hand."""

import subprocess
import sys
from pathlib import Path

import h5py
import pytest

SCRIPT = Path(__file__).parents[1] / "kill_snapshots.py"


@pytest.mark.timeout(900)  # a start of two ranks for each kill: 1.5 s on two quiet cores, many times that on busy ones
def test_no_kill_loses_a_step_or_shows_a_torn_one(layout, mpiexec):
    if layout == "steps" and not h5py.get_config().mpi:
        pytest.skip("several ranks can write one HDF5 file only with an h5py built with MPI, and its wheel is not")
    done = subprocess.run([sys.executable, SCRIPT, "3", "--layout", layout], env=mpiexec.env, capture_output=True, text=True, timeout=850)
    assert done.returncode == 0 and "3 kills" in done.stdout, done.stdout + done.stderr
