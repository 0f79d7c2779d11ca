"""Eight calls on files fail, one at a time; `tests/io/fail_calls.py` fails all of them by hand."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("fail_calls.py")


@pytest.mark.skipif(not shutil.which("gcc"), reason="what makes calls fail is compiled by gcc")
@pytest.mark.timeout(600)  # eighteen runs: 10 s on a quiet machine
def test_nothing_acknowledged_is_lost_and_the_next_start_goes_on(mpiexec):
    done = subprocess.run(
        [sys.executable, SCRIPT, "saves", "8", "--seed", "3"], env=mpiexec.env, capture_output=True, text=True, timeout=550
    )
    assert done.returncode == 0 and " 8 of them failed once" in done.stdout, done.stdout + done.stderr
