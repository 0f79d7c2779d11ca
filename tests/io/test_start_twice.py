"""Two nodes start one run at the same instant: `start_twice.py`, once. By hand: 50 times, on two nodes of Slurm."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(600)
def test_one_works_and_the_other_is_refused(mpiexec):
    alone = ["unshare", "--map-root-user", "--uts", "--pid", "--fork", "--mount-proc", "hostname", "n1"]
    if not (shutil.which("cc") or shutil.which("gcc")) or subprocess.run(alone, capture_output=True).returncode:
        pytest.skip("two nodes on one machine need a C compiler and namespaces of users (unshare --map-root-user)")
    script = Path(__file__).with_name("start_twice.py")
    done = subprocess.run([sys.executable, script, "1"], capture_output=True, text=True, timeout=590, env=mpiexec.env)
    assert done.returncode == 0 and "nothing of the first was touched" in done.stdout, done.stdout + done.stderr
