"""What is no file is neither waited for nor read without end, whichever way it is opened."""

import os
import socket

import pytest

from hpcml.core.regular import open_regular, read_named, read_regular

FLAGS = [os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND, os.O_WRONLY | os.O_APPEND | os.O_CREAT]


def _pipe(path):
    os.mkfifo(path)


def _folder(path):
    path.mkdir()


def _link(path):
    path.symlink_to("/dev/zero")


def _circle(path):
    path.symlink_to(path.name)


def _socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/cwd/{path.name}")  # its own path may be too long for one


@pytest.mark.timeout(20)
@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("make, word", [(_pipe, "pipe"), (_folder, "folder"), (_link, "link"), (_circle, "link"), (_socket, "socket")])
def test_what_is_no_file_is_named(make, word, flags, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "odd")
    with pytest.raises(OSError, match=f"it is a .*{word}, not a file: move it away"):
        open_regular(tmp_path / "odd", flags)


def test_a_file_is_made_where_there_is_none_and_only_if_asked(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "new")
    os.close(open_regular(tmp_path / "new", os.O_WRONLY | os.O_CREAT, 0o600))
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


@pytest.mark.timeout(20)
def test_no_more_is_read_than_a_file_may_hold(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert read_regular(tmp_path / "file", 5) == b"12345"
    for size in (6, 100 << 30):
        os.truncate(tmp_path / "file", size)
        with pytest.raises(OSError, match="longer than the 5 bytes"):
            read_regular(tmp_path / "file", 5)
        with pytest.raises(OSError, match="a text file of at most"):
            read_named(tmp_path / "file", 5)


@pytest.mark.timeout(20)
def test_what_the_user_named_may_be_a_link_and_the_pipe_of_a_shell(tmp_path):
    (tmp_path / "file").write_bytes(b"12")
    (tmp_path / "link").symlink_to("file")
    assert read_named(tmp_path / "link", 5) == b"12"
    read, write = os.pipe()
    os.write(write, b"34")
    os.close(write)
    assert read_named(type(tmp_path)(f"/dev/fd/{read}"), 5) == b"34"
    os.close(read)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="may never be written to"):
        read_named(tmp_path / "pipe", 5)
    (tmp_path / "zero").symlink_to("/dev/zero")
    with pytest.raises(OSError, match="at most"):
        read_named(tmp_path / "zero", 5)
