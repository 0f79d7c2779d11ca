"""A compiled file is built by one process, whole or not at all, in a folder of the user's own."""

import multiprocessing
import time

import pytest

from hpcml.core.errors import DeviceError
from hpcml.kernels.cache import built_once


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


def test_a_cache_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HPCML_CACHE", str(tmp_path / "file"))
    with pytest.raises(DeviceError, match="set HPCML_CACHE to a writable folder"):
        built_once("thing.so", slow_build)
