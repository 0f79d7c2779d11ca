"""All of it or nothing."""

import errno
import os

import pytest

from hpcml.core.append import append


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_what_is_taken_in_part_does_not_stay(tmp_path, monkeypatch, taken):
    (tmp_path / "file").write_bytes(b"before")
    descriptor = os.open(tmp_path / "file", os.O_WRONLY | os.O_APPEND)
    answers, real = [taken, None], os.write

    def refuses(descriptor, data):
        count = answers.pop(0)
        if not count:
            raise OSError(errno.ENOSPC, "full")
        return real(descriptor, data[:count])

    with monkeypatch.context() as patch, pytest.raises(OSError, match="full"):
        patch.setattr(os, "write", refuses)
        append(descriptor, b"after")
    assert (tmp_path / "file").read_bytes() == b"before"
    append(descriptor, b"after")
    os.close(descriptor)
    assert (tmp_path / "file").read_bytes() == b"beforeafter"
