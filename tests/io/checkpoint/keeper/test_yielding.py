"""Work yields to training up to a time, and is done whole whoever does it."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hpcml.io.checkpoint.keeper.yielding import work_off

TWO_ON_ONE_CORE = """
import os, subprocess, sys, time
from hpcml.io.checkpoint.keeper.yielding import work_off
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
end = time.monotonic() + 1.0
print(work_off((None for _ in iter(lambda: time.monotonic() < end, False)), 1e18))
other.kill()
other.wait()
"""


def parts(count, seen, until=None):
    for number in range(count):
        while until is not None and number == 1 and time.monotonic() <= until:
            time.sleep(0.001)
        seen.append((number, threading.current_thread() is threading.main_thread(), os.getpriority(os.PRIO_PROCESS, 0)))
        yield


def test_it_is_done_at_the_lowest_priority_while_there_is_time():
    seen = []
    assert work_off(parts(3, seen), time.monotonic() + 1e6) >= 0.0
    assert seen == [(number, False, 19) for number in range(3)]


def test_it_goes_on_at_its_own_priority_once_it_is_late():
    seen, until, own = [], time.monotonic() + 0.05, os.getpriority(os.PRIO_PROCESS, 0)
    work_off(parts(4, seen, until), until)
    assert [number for number, _, _ in seen] == [0, 1, 2, 3] and seen[-1] == (3, True, own)


def test_what_is_late_from_the_beginning_never_yields():
    seen = []
    assert work_off(parts(2, seen), 0.0) == 0.0 and all(main for _, main, _ in seen)


@pytest.mark.parametrize("until", [0.0, 1e18])
def test_errors_arrive(until):
    def failing():
        yield
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        work_off(failing(), until)


def test_waiting_for_a_core_is_counted():
    if Path("/proc/thread-self/schedstat").read_text().startswith("0 0 "):
        pytest.skip("this Linux does not count how long a thread waits for a core (CONFIG_SCHED_INFO)")
    done = subprocess.run([sys.executable, "-c", TWO_ON_ONE_CORE], capture_output=True, text=True, timeout=300, check=True)
    assert float(done.stdout) > 0.2  # of the second, at the lowest priority more than half
