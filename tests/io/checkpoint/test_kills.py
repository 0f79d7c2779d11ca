"""Four random kills of a run that saves all the time, one of each kind; `tests/io/kill_checkpoint.py 300` does more of them by hand."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "kill_checkpoint.py"


@pytest.mark.timeout(900)  # a start of two ranks and a restart after each kill: 3 s on two quiet cores, many times that on busy ones
def test_every_restart_after_a_kill_finds_a_whole_checkpoint(mpiexec):
    done = subprocess.run([sys.executable, SCRIPT, "4", "--first", "3"], env=mpiexec.env, capture_output=True, text=True, timeout=850)
    if done.returncode:  # what happened first: the summary of the session shows one line
        reason = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        pytest.fail(f"{reason}\n{done.stdout}{done.stderr}", pytrace=False)
    assert "4 kills" in done.stdout
