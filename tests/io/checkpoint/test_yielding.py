"""Work yields to training up to a time, and is done whole whoever does it."""

import os
import threading
import time

import pytest

from hpcml.io.checkpoint.yielding import work_off


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
