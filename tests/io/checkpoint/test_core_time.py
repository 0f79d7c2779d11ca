"""What a thread waits for a core is seen where two want the same one."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, subprocess, sys, time
from hpcml.io.checkpoint.core_time import seconds_without_core
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
start = seconds_without_core()
other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
end = time.monotonic() + 1.0
while time.monotonic() < end:
    pass
other.kill()
other.wait()
print(seconds_without_core() - start)
"""


def test_waiting_for_a_core_is_counted():
    if Path("/proc/thread-self/schedstat").read_text().startswith("0 0 "):
        pytest.skip("this Linux does not count how long a thread waits for a core (CONFIG_SCHED_INFO)")
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    assert float(done.stdout) > 0.2  # of the second, half at even shares
