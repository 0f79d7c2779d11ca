"""A folder or file is trusted where no other user could have put it there, and not otherwise."""

import os

import pytest

from hpcml.core.trusted import distrust, open_trusted, read_trusted, write_trusted


def opened(path):
    """Whether a file is taken."""
    try:
        os.close(open_trusted(path))
    except OSError:
        return False
    return True


def test_ones_own_is_trusted_through_links_and_sticky_folders(tmp_path, shared_folder):
    own = shared_folder / "own"
    own.mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(own)
    for folder in (tmp_path, own, tmp_path / "link", tmp_path / "link" / ".." / "own"):
        assert distrust(folder) is None
    write_trusted(own / "file", b"mine")
    assert read_trusted(tmp_path / "link" / "file") == b"mine"
    with pytest.raises(FileNotFoundError):
        distrust(own / "missing")


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_a_folder_that_others_may_write_to_is_not_trusted(mode, tmp_path):
    (tmp_path / "folder" / "below").mkdir(parents=True)
    (tmp_path / "folder").chmod(mode)
    assert "others may write to" in distrust(tmp_path / "folder")
    sticky = mode == 0o1777
    assert (distrust(tmp_path / "folder" / "below") is None) is sticky  # nobody can rename what is mine there


def test_a_link_in_a_circle_is_not_trusted(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert "circle" in distrust(tmp_path / "a")


def test_what_belongs_to_another_user_is_not_trusted(shared_folder, as_another_user):
    own = shared_folder / "own"
    own.mkdir()

    def plant():
        (shared_folder / "theirs").mkdir(mode=0o755)
        (shared_folder / "theirs" / "file").write_text("theirs")
        (shared_folder / "link").symlink_to(own)
        (shared_folder / "file").write_text("theirs")

    as_another_user(plant)
    for name in ("theirs", "link", "link/../own"):
        assert "belongs to the user 65534" in distrust(shared_folder / name), name
    assert not opened(shared_folder / "file") and not opened(shared_folder / "theirs" / "file")


def test_only_files_that_nobody_else_can_write_are_opened(tmp_path):
    for name, mode in (("good", 0o644), ("group", 0o664), ("all", 0o646)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    (tmp_path / "link").symlink_to("good")
    os.mkfifo(tmp_path / "pipe")  # which an ordinary open would wait at
    (tmp_path / "folder").mkdir()
    assert [path.name for path in sorted(tmp_path.iterdir()) if opened(path)] == ["good"]


def test_what_is_written_is_trusted_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        write_trusted(tmp_path / "file", b"1")
        write_trusted(tmp_path / "file", b"2")
    finally:
        os.umask(before)
    assert read_trusted(tmp_path / "file") == b"2" and len(list(tmp_path.iterdir())) == 1
