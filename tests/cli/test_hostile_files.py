"""One hostile file of every kind; ``tests/cli/hostile_files.py 300`` reads more of them by hand."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(900)  # each may take the 300 s that the script grants, where a machine is very busy
def test_hostile_files_end_in_a_result_or_a_sentence(mpiexec):
    script = Path(__file__).with_name("hostile_files.py")
    done = subprocess.run([sys.executable, script, "9"], env=mpiexec.env, capture_output=True, text=True, errors="replace", timeout=880)
    assert done.returncode == 0 and "9 files" in done.stdout and "0 ended badly" in done.stdout, done.stdout + done.stderr
