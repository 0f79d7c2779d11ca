"""The cache is where the user wants it, and somewhere that can be written."""

import os
import subprocess
import sys

import pytest

import hpcml.core.cache_folder as cache_folder_module
from hpcml.core.cache_folder import cache_folder
from hpcml.core.trusted import distrust


def test_the_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("HPCML_CACHE", raising=False)
    assert cache_folder("kernels") == tmp_path / "xdg" / "hpcml" / "kernels"
    monkeypatch.setenv("HPCML_CACHE", str(tmp_path / "own"))
    assert cache_folder("kernels") == tmp_path / "own" / "kernels"


@pytest.fixture
def refused(monkeypatch, caplog):
    """``refused(reason)``: the cache is somewhere of its own, for a reason that was said once."""
    monkeypatch.delenv("HPCML_CACHE", raising=False)
    cache_folder_module._tell.cache_clear()

    def check(reason):
        folders = {cache_folder("kernels"), cache_folder("kernels")}
        assert len(folders) == 1 and distrust(folders.pop()) is None
        assert [record for record in caplog.records if reason in record.getMessage()] == caplog.records and len(caplog.records) == 1
        return cache_folder("kernels")

    return check


def test_a_home_that_cannot_be_written_is_passed_over(tmp_path, monkeypatch, refused):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert tmp_path not in refused("Not a directory").parents


def test_a_cache_that_others_may_write_to_is_not_used(shared_folder, monkeypatch, refused):
    (shared_folder / "kernels").mkdir()
    (shared_folder / "kernels").chmod(0o777)
    monkeypatch.setenv("HPCML_CACHE", str(shared_folder))
    assert shared_folder not in refused(f"others may write to {shared_folder / 'kernels'}").parents


def test_a_cache_that_another_user_made_first_is_not_used(shared_folder, monkeypatch, refused, as_another_user):
    as_another_user(lambda: (shared_folder / "hpcml" / "kernels").mkdir(parents=True))
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_folder))
    assert shared_folder not in refused("belongs to the user 65534").parents


def test_new_folders_are_ones_own_whatever_the_umask(tmp_path, monkeypatch):
    monkeypatch.setenv("HPCML_CACHE", str(tmp_path / "new" / "cache"))
    before = os.umask(0)
    try:
        assert cache_folder("kernels") == tmp_path / "new" / "cache" / "kernels"
    finally:
        os.umask(before)
    assert distrust(tmp_path / "new" / "cache" / "kernels") is None


def test_the_folder_of_a_process_goes_with_it(tmp_path):
    code = "from hpcml.core.cache_folder import cache_folder; print(cache_folder('kernels'))"
    env = os.environ | {"HPCML_CACHE": "/proc/none", "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(tmp_path)) and not list(tmp_path.iterdir())
    assert done.stderr.count("the cache is not used") == 1
