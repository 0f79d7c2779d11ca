"""What is said of errors of the system."""

import errno

import pytest

from hpcml.io.files.remedy import reason

WRAPPED = (
    "Can't decrement id ref count (file write failed: time = Sun Nov 29 01:01:12 2026\n, filename = 'a.h5', file descriptor = 33, "
    "errno = 28, error message = 'No space left on device', buf = 0x55ae35b517e8, total write size = 48, offset = 0)"
)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, WRAPPED), RuntimeError(WRAPPED)])
def test_hdf5_s_words_give_way_to_the_system_s(error):
    assert reason(error) == "[Errno 28] No space left on device; the disk is full: free some space, or keep fewer checkpoints"


def test_other_words_stay_on_one_line():
    assert reason(PermissionError(errno.EACCES, "Permission denied", "a b")).endswith(
        "Permission denied: 'a b'; choose a folder that this user may write to"
    )
    assert reason(RuntimeError("a\n  b")) == "a b"
