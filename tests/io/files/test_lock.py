"""One owner at a time, on any node, whatever the file system does with locks; and nobody waits for one that is gone."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hpcml.core.errors import CheckpointError
from hpcml.io.files import lock as module
from hpcml.io.files import verdict
from hpcml.io.files.batch_job import BatchJob
from hpcml.io.files.lock import HEIR, LOCK, FolderHeir, FolderLock, Heartbeat, holder, name_heir
from hpcml.io.files.owner import Owner, read_owner

HOLD = "import sys, time; from pathlib import Path; from hpcml.io.files.lock import *; {}; print('holds', flush=True); time.sleep(600)"


@pytest.fixture
def start():
    """``start(code)`` runs it in another process that then stays; gives the process."""
    started = []

    def run(code, *words):
        command = [sys.executable, "-c", HOLD.format(code), *map(str, words)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout.readline() == "holds\n"
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def end(process):
    process.kill()
    process.wait()


def elsewhere(folder, age=0.0, **changes):
    """Leave the mark of an owner on another node, last touched ``age`` seconds ago, at a whole second as some file systems have it."""
    there = Owner.this()
    there = replace(there, process=replace(there.process, host="n7", boot="other", pid=123), **changes)
    (folder / LOCK).write_bytes(there.encode())
    touched = int(time.time() - age)
    os.utime(folder / LOCK, (touched, touched))
    return there


def test_it_is_given_back_and_leaves_nothing(tmp_path):
    for _ in range(3):
        FolderLock(tmp_path / "run").close()
    assert not list((tmp_path / "run").iterdir())


def test_a_process_that_was_killed_holds_nothing(tmp_path, start):
    end(start("lock = FolderLock(Path(sys.argv[1]))", tmp_path))
    assert (tmp_path / LOCK).exists() and holder(tmp_path)[1].gone
    FolderLock(tmp_path, patience=0).close()


def test_a_process_with_the_number_of_a_dead_one_is_another(tmp_path):
    owner = Owner.this()
    (tmp_path / LOCK).write_bytes(replace(owner, process=replace(owner.process, start=owner.process.start - 1)).encode())
    FolderLock(tmp_path, patience=0).close()


def test_one_that_lives_is_refused_by_name_and_waited_for_when_told_to(tmp_path, start, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    first = start("lock = FolderLock(Path(sys.argv[1])); time.sleep(0)", tmp_path)
    before = (tmp_path / LOCK).read_bytes()
    with pytest.raises(CheckpointError, match=rf"is in use by process {first.pid} on {os.uname().nodename} of job 17: give this run"):
        FolderLock(tmp_path, patience=0.1)
    assert (tmp_path / LOCK).read_bytes() == before
    second = subprocess.Popen([sys.executable, "-c", HOLD.format("FolderLock(Path(sys.argv[1]), 300)"), tmp_path], stdout=subprocess.PIPE)
    end(first)
    assert second.stdout.readline() == b"holds\n"
    end(second)


def test_neither_locks_nor_their_absence_matter(tmp_path, monkeypatch):
    """Somebody who only reads holds the file with a lock; there may also be none."""
    (tmp_path / LOCK).write_text("")
    os.utime(tmp_path / LOCK, (0, 0))
    monkeypatch.setattr(verdict, "WATCH_SECONDS", 0.0)
    with (tmp_path / LOCK).open() as reader:
        fcntl.flock(reader, fcntl.LOCK_EX)
        monkeypatch.setattr(fcntl, "flock", None)
        monkeypatch.setattr(fcntl, "lockf", None)
        lock = FolderLock(tmp_path, patience=0)
        with pytest.raises(CheckpointError, match="is in use by process"):
            FolderLock(tmp_path, patience=0)
        lock.close()


@pytest.mark.parametrize("age", [0, 30, 59])
def test_on_another_node_a_sign_of_life_is_believed(tmp_path, age):
    elsewhere(tmp_path, age, job=BatchJob("17"))
    before = (tmp_path / LOCK).read_bytes()
    with pytest.raises(CheckpointError, match=r"process 123 on n7 of job 17, which showed a sign of life \d+ s ago \(60 s without"):
        FolderLock(tmp_path, patience=0)
    assert (tmp_path / LOCK).read_bytes() == before


def test_on_another_node_silence_is_the_end_and_what_is_not_sure_is_said(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(verdict, "WATCH_SECONDS", 0.3)
    elsewhere(tmp_path, 62)
    lock = FolderLock(tmp_path, patience=0)
    assert "in use by process 123 on n7, which has shown no sign of life for 6" in caplog.text, caplog.text
    assert "could not be made sure of from this node" in caplog.text
    lock.close()


def test_a_clock_that_is_wrong_ends_nobody(tmp_path, monkeypatch):
    """The file looks old because another node's clock is behind, yet it is touched while it is watched."""
    monkeypatch.setattr(verdict, "WATCH_SECONDS", 1.0)
    there = elsewhere(tmp_path, 3600)
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.2)
    real, behind, touches = module.read_owner, time.time() - 3600, iter(range(5))

    def touched(path):
        found = real(path)
        os.utime(path, (behind + next(touches, 5),) * 2)
        return found

    monkeypatch.setattr(module, "read_owner", touched)
    monkeypatch.setattr(verdict.Judge, "_now", lambda self, folder: time.time())
    started = time.monotonic()
    FolderLock(tmp_path, patience=0)
    assert time.monotonic() - started > 1.8  # five touches, 0.2 s apart, and only then a second without one
    assert there.token not in (tmp_path / LOCK).read_text()


def test_the_same_job_put_back_into_the_queue_takes_over(tmp_path, monkeypatch):
    elsewhere(tmp_path, job=BatchJob("17", 2, "tiger"))
    for name, value in (("SLURM_JOB_ID", "17"), ("SLURM_CLUSTER_NAME", "tiger"), ("SLURM_RESTART_COUNT", "2")):
        monkeypatch.setenv(name, value)
    with pytest.raises(CheckpointError, match="in use"):  # another step of the same start
        FolderLock(tmp_path, patience=0)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "3")
    FolderLock(tmp_path, patience=0).close()


@pytest.mark.parametrize(
    "answer, over",
    [
        ("echo TIMEOUT", True),
        ("echo PENDING", True),  # it has run and waits to be started again
        ("echo RUNNING", False),
        ("echo COMPLETING", False),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", True),
        ("echo 'Unable to contact slurm controller' >&2; exit 1", False),
    ],
)
def test_slurm_is_asked(tmp_path, monkeypatch, answer, over):
    for name, text in (("squeue", answer), ("scontrol", "echo 'ClusterName             = tiger'")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    for cluster, expected in (("tiger", over), ("lion", False)):  # the same number on another cluster is another job
        elsewhere(tmp_path, job=BatchJob("17", 0, cluster))
        assert holder(tmp_path)[1].gone == expected


def test_what_is_no_owner_is_neither_followed_nor_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(verdict, "WATCH_SECONDS", 0.0)
    (tmp_path / "precious").write_text("mine")
    for number, make in enumerate(
        (
            os.mkfifo,
            lambda path: path.symlink_to(tmp_path / "precious"),
            lambda path: path.symlink_to(path),
            lambda path: path.write_text('{"token": "../../x", "pid": 1}'),
            lambda path: path.write_text('{"host": "n1", "pid": 1}'),
            lambda path: path.write_text("[" * 100_000),
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        make(folder / LOCK)
        with pytest.raises(CheckpointError, match="in use by somebody whose name cannot be read"):
            FolderLock(folder, patience=0)
        os.utime(folder / LOCK, (0, 0), follow_symlinks=False)
        FolderLock(folder, patience=0).close()
    assert (tmp_path / "precious").read_text() == "mine"


def test_an_heir_is_waited_for(tmp_path, start):
    rank = start("lock = FolderLock(Path(sys.argv[1]))", tmp_path)
    token = json.loads((tmp_path / LOCK).read_text())["token"]
    heir = start("pass", tmp_path, token)  # as it is before it has begun to work
    name_heir(tmp_path, token, heir.pid)
    end(rank)
    owner, verdict = holder(tmp_path)
    assert owner.process.pid == rank.pid and verdict.draining and not verdict.gone
    end(heir)
    FolderLock(tmp_path, patience=0).close()


def test_an_heir_gives_the_folder_back(tmp_path):
    lock = FolderLock(tmp_path)
    name_heir(tmp_path, lock.token, os.getpid())
    heir = FolderHeir(tmp_path, lock.token)
    lock.close(to_heir=True)
    assert holder(tmp_path)[1].draining
    heir.take()
    heir.close()
    assert not list(tmp_path.iterdir())
    lock = FolderLock(tmp_path)
    lock.close(to_heir=True)  # there is none
    assert not list(tmp_path.iterdir())


def test_who_stood_still_finds_out_and_touches_nothing(tmp_path, monkeypatch):
    lock = FolderLock(tmp_path)
    other = elsewhere(tmp_path)
    monkeypatch.setattr(module, "GONE_SECONDS", -1.0)  # as if the last look were long ago
    with pytest.raises(CheckpointError, match="was taken over by process 123 on n7 while this process stood still"):
        lock.check()
    lock.close()
    assert read_owner(tmp_path / LOCK)[0].token == other.token


def test_a_file_that_somebody_removed_is_made_again(tmp_path):
    lock = FolderLock(tmp_path)
    (tmp_path / LOCK).unlink()
    lock._beat.beat()
    assert read_owner(tmp_path / LOCK)[0].token == lock.token
    lock.close()


def test_a_heartbeat_touches_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    owner, path = Owner.this(), tmp_path / LOCK
    path.write_bytes(owner.encode())
    os.utime(path, (0, 0))
    beat = Heartbeat(path, owner)
    while path.stat().st_mtime == 0:
        time.sleep(0.01)
    beat.stop()
    assert beat.lost is None


def test_an_orphan_is_told_of(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ORPHAN_SECONDS", 0.1)
    code = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', *sys.argv[1:]]).pid, flush=True); input()"
    environment = os.environ | {"PMI_SIZE": "1", "PMI_RANK": "0"}
    words = [HOLD.format("lock = FolderLock(Path(sys.argv[1]))"), str(tmp_path)]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code, *words], env=environment, **streams) as launcher:
        rank = int(launcher.stdout.readline())
        assert launcher.stdout.readline() == "holds\n"
        launcher.kill()
    try:
        with pytest.raises(CheckpointError, match=rf"process {rank} on .*, whose launcher has died: it should end by itself, or kill it"):
            FolderLock(tmp_path, patience=0)
    finally:
        os.kill(rank, signal.SIGKILL)


def test_what_dead_processes_left_is_removed(tmp_path):
    for name in (".lock-new-0123abcd", ".lock-01234567", ".lock-01234567-89abcdef"):
        (tmp_path / name).write_text("")
    lock = FolderLock(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [LOCK] and not (tmp_path / HEIR).exists()
    lock.close()
    assert isinstance(lock._path, Path)


def test_a_folder_is_given_back_where_no_thread_can_show_that_its_owner_lives(tmp_path, monkeypatch):
    def refused(*_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(module, "Heartbeat", refused)
        with pytest.raises(RuntimeError, match="thread"):
            FolderLock(tmp_path)
    FolderLock(tmp_path, patience=0.0).close()
