"""A file is replaced whole, on every file system."""

import errno
import os
import stat

import pytest

from hpcml.io.files import replace
from hpcml.io.files.replace import sync_folder, write_file


def failing(number, only=lambda descriptor: True):
    """An fsync that fails."""

    def fsync(descriptor):
        if only(descriptor):
            raise OSError(number, os.strerror(number))

    return fsync


def is_folder(descriptor):
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def test_content_that_does_not_reach_the_disk_replaces_nothing(tmp_path, monkeypatch):
    write_file(tmp_path / "a", b"old")
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(OSError, match="error"):
        write_file(tmp_path / "a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"old"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_folder_that_cannot_be_forced_to_the_disk_is_told_of_once(tmp_path, monkeypatch, caplog, number):
    monkeypatch.setattr(os, "fsync", failing(number, is_folder))
    monkeypatch.setattr(replace, "_told", False)
    for name in "ab":
        write_file(tmp_path / name, b"new")
        assert (tmp_path / name).read_bytes() == b"new"
    assert len(caplog.messages) == 1 and str(tmp_path) in caplog.text


def test_a_folder_whose_disk_fails_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", failing(errno.EIO, is_folder))
    with pytest.raises(OSError, match="error"):
        sync_folder(tmp_path)
