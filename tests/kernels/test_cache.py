"""A compiled file is built by one process, whole or not at all, in a folder of the user's own."""

import multiprocessing
import time

import pytest

from hpcml.core.errors import DeviceError
from hpcml.kernels.cache import built_once, cache_folder


def slow_build(path):
    log = path.parent / "log"
    with log.open("a") as file:
        file.write("built\n")
    path.write_text("half")
    time.sleep(0.2)
    path.write_text("whole")


def ask(results):
    results.put(built_once("thing.so", slow_build).read_text())


def test_racing_processes_build_once_and_read_a_whole_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HPCML_CACHE", str(tmp_path))
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    racers = [context.Process(target=ask, args=(results,)) for _ in range(4)]
    for racer in racers:
        racer.start()
    assert [results.get(timeout=30) for _ in racers] == ["whole"] * 4
    for racer in racers:
        racer.join()
    assert (tmp_path / "kernels" / "log").read_text() == "built\n"


def test_a_failed_build_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("HPCML_CACHE", str(tmp_path))

    def fail(path):
        path.write_text("half")
        raise DeviceError("refused")

    with pytest.raises(DeviceError, match="refused"):
        built_once("thing.so", fail)
    assert [path.name for path in (tmp_path / "kernels").iterdir()] == ["thing.lock"]


def test_the_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("HPCML_CACHE", raising=False)
    assert cache_folder() == tmp_path / "xdg" / "hpcml" / "kernels"
    monkeypatch.setenv("HPCML_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own" / "kernels"


def test_a_home_that_cannot_be_written_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.delenv("HPCML_CACHE", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert cache_folder().parts[: len(tmp_path.parts)] == tmp_path.parts and "file" not in cache_folder().parts


def test_a_cache_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HPCML_CACHE", str(tmp_path / "file"))
    with pytest.raises(DeviceError, match="set HPCML_CACHE to a writable folder"):
        built_once("thing.so", slow_build)
