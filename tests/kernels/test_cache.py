"""A compiled file is built by one process, whole or not at all, in a folder of the user's own."""

import errno
import fcntl
import multiprocessing
import os
import time

import pytest

from hpcml.core.errors import DeviceError
from hpcml.kernels.cache import built_once
from hpcml.kernels.compiler import compile_shared, find_compiler
from hpcml.kernels.shared_library import shared_library

NOBODY = 65534


def slow_build(path):
    log = path.parent / "log"
    with log.open("a") as file:
        file.write("built\n")
    path.write_text("half")
    time.sleep(0.2)
    path.write_text("whole")


def content(descriptor):
    with os.fdopen(descriptor) as file:
        return file.read()


def ask(results):
    results.put(content(built_once("thing.so", slow_build)))


def test_racing_processes_build_once_and_read_a_whole_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HPCML_CACHE", str(tmp_path))
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    racers = [context.Process(target=ask, args=(results,)) for _ in range(4)]
    for racer in racers:
        racer.start()
    assert [results.get(timeout=300) for _ in racers] == ["whole"] * 4
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


def test_a_cache_that_cannot_be_made_is_replaced_by_one_of_its_own(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HPCML_CACHE", str(tmp_path / "file"))
    assert content(built_once(f"{tmp_path.name}.so", slow_build)) == "whole"


def test_a_full_cache_is_named(tmp_path, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setenv("HPCML_CACHE", str(tmp_path))
    with pytest.raises(DeviceError, match="cannot write the kernel cache .*No space left .*set HPCML_CACHE to another folder"):
        built_once("thing.so", full)


@pytest.mark.parametrize("spoil", [lambda path: path.chmod(0o666), lambda path: os.chown(path, NOBODY, NOBODY)])
def test_a_file_that_another_could_have_written_is_built_anew(spoil, tmp_path, monkeypatch, as_another_user):
    monkeypatch.setenv("HPCML_CACHE", str(tmp_path))
    os.close(built_once("thing.so", slow_build))
    path = tmp_path / "kernels" / "thing.so"
    path.write_text("planted")
    spoil(path)
    assert content(built_once("thing.so", slow_build)) == "whole"


def test_a_lock_that_others_can_open_is_not_waited_for(tmp_path, monkeypatch):
    """Another user who may read the lock file may hold it for ever."""
    monkeypatch.setenv("HPCML_CACHE", str(tmp_path))
    (tmp_path / "kernels").mkdir()
    with (tmp_path / "kernels" / "thing.lock").open("w") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        assert content(built_once("thing.so", slow_build)) == "whole"


HARMLESS, EVIL = (f'extern "C" int whose() {{ return {number}; }}\n' for number in (1, 2))


def test_a_library_that_another_user_planted_is_never_loaded(tmp_path, shared_folder, monkeypatch, as_another_user):
    """He knows every name, and was there first."""
    source, planted = tmp_path / "whose.cpp", tmp_path / "evil.so"
    source.write_text(HARMLESS)
    monkeypatch.setenv("HPCML_CACHE", str(tmp_path / "own"))
    assert shared_library(source).whose() == 1
    (name,) = (path.name for path in (tmp_path / "own" / "kernels").glob("*.so"))
    (tmp_path / "evil.cpp").write_text(EVIL)
    compile_shared(find_compiler(), tmp_path / "evil.cpp", planted)
    evil = planted.read_bytes()

    def plant():
        (shared_folder / "kernels").mkdir(mode=0o777)
        (shared_folder / "kernels" / name).write_bytes(evil)
        (shared_folder / "kernels").chmod(0o777)

    as_another_user(plant)
    monkeypatch.setenv("HPCML_CACHE", str(shared_folder))
    assert shared_library(source).whose() == 1
    assert (shared_folder / "kernels" / name).read_bytes() == evil
