"""A run directory says how its run stands or ended."""

import errno
import json
import os
from dataclasses import replace

import pytest

from hpcml.cli.main import main
from hpcml.core.errors import LostRankError, TrainingError
from hpcml.io.files.lock import LOCK, FolderLock
from hpcml.io.files.owner import Owner
from hpcml.runs import run_status
from hpcml.runs.run_status import STATUS, RunStatus, describe_status, read_status


def test_a_run_that_ends_says_how(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    with RunStatus(tmp_path, 0, 4) as status:
        assert json.loads((tmp_path / STATUS).read_text())["state"] == "running"
        status.finished(270)
    found = read_status(tmp_path)
    assert [found[key] for key in ("state", "exit_status", "step", "ranks", "job", "restart")] == ["finished", 0, 270, 4, "17", 2]
    with RunStatus(tmp_path, 0, 4) as status:
        status.stopped(5)
    assert [read_status(tmp_path)[key] for key in ("state", "exit_status", "step")] == ["stopped", 85, 5]
    assert describe_status(read_status(tmp_path)).startswith("run stopped after step 5, ")


@pytest.mark.parametrize(
    "error, rank, status, message",
    [
        (TrainingError("training diverged"), 0, 2, "training diverged"),
        (TrainingError("training diverged"), 1, None, None),  # rank 0 says what all agree on
        (ValueError("shapes"), 0, 1, "rank 0: ValueError: shapes"),
        (ValueError("shapes"), 3, 1, "rank 3: ValueError: shapes"),
        (LostRankError("rank 1 does not come"), 3, 86, "rank 3: LostRankError: rank 1 does not come"),
        (KeyboardInterrupt(), 0, 130, "rank 0: KeyboardInterrupt: "),
    ],
)
def test_a_run_that_fails_says_why(tmp_path, error, rank, status, message):
    with pytest.raises(type(error)), RunStatus(tmp_path, rank, 4):
        raise error
    found = read_status(tmp_path)
    if status is None:
        assert found is None
    else:
        assert (found["state"], found["exit_status"], found["message"]) == ("failed", status, message)


def test_nodes_whose_ranks_hold_a_run_up_or_say_nothing_are_named(tmp_path):
    silent = LostRankError("rank 2 does not come")
    silent.silent = (2, 3)
    with pytest.raises(LostRankError), RunStatus(tmp_path, 0, 4, {0: "n1", 1: "n1", 2: "n2", 3: "n2"}) as status:
        assert read_status(tmp_path)["suspects"] == ""
        status.note("rank 1 holds the others up", ["n1"])
        assert read_status(tmp_path)["suspects"] == "n1"
        raise silent
    found = read_status(tmp_path)
    assert found["suspects"] == "n2" and found["message"].endswith("does not come. Who does not come and says nothing is on n2")


def test_a_run_that_was_killed_is_told_from_one_that_runs(tmp_path):
    RunStatus(tmp_path, 0, 1).__enter__()
    assert read_status(tmp_path)["state"] == "killed"
    lock = FolderLock(tmp_path / "checkpoints")
    found = read_status(tmp_path)
    assert found["state"] == "running" and f"process {os.getpid()} on" in describe_status(found)
    lock.close()
    dead = Owner.this()
    dead = replace(dead, process=replace(dead.process, start=1))
    (tmp_path / "checkpoints" / LOCK).write_bytes(dead.encode())
    assert "did not come to say why" in describe_status(read_status(tmp_path))


def test_a_full_disk_has_room_for_the_end(tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(TrainingError), RunStatus(tmp_path, 0, 1):
        size = (tmp_path / STATUS).stat().st_size
        monkeypatch.setattr(run_status, "write_file", full)
        raise TrainingError("the disk is full")
    assert read_status(tmp_path)["message"] == "the disk is full" and (tmp_path / STATUS).stat().st_size == size


@pytest.mark.parametrize("content", ["", "[]", "{}", "[" * 10_000, "null"])
def test_what_is_no_status_says_nothing(tmp_path, content):
    (tmp_path / STATUS).write_text(content)
    assert read_status(tmp_path) is None


def test_inspect_shows_it_also_before_the_first_checkpoint(tmp_path, capsys):
    with pytest.raises(TrainingError), RunStatus(tmp_path, 0, 2):
        raise TrainingError("no luck")
    assert main(["inspect", str(tmp_path)]) == 1
    assert capsys.readouterr().out.startswith("run failed, ")
    assert main(["inspect", str(tmp_path), "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert found["run"]["message"] == "no luck" and not found["complete"]


def a_pipe(path):
    os.mkfifo(path)


def a_link_without_end(path):
    path.symlink_to("/dev/zero")


def a_link_to_a_status(path):
    (path.parent / "elsewhere").write_text('{"state": "finished"}')
    path.symlink_to("elsewhere")


def a_hundred_gigabytes(path):
    path.touch()
    os.truncate(path, 100 << 30)


def of_no_state(path):
    path.write_text('{"state": ["finished"]}')


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", [a_pipe, a_link_without_end, a_link_to_a_status, a_hundred_gigabytes, of_no_state])
def test_what_is_no_file_of_a_status_is_not_waited_for(make, tmp_path):
    make(tmp_path / STATUS)
    assert read_status(tmp_path) is None


@pytest.mark.timeout(20)
def test_a_full_disk_and_a_pipe_in_its_place_end_no_run(tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, "full")

    os.mkfifo(tmp_path / STATUS)
    monkeypatch.setattr(run_status, "write_file", full)
    with RunStatus(tmp_path, 0, 1) as status:
        status.finished(1)


@pytest.mark.parametrize("key", ["state", "message", "note", "job", "host", "since", "step", "ranks", "time"])
def test_what_another_has_written_cannot_act_on_a_terminal(key, tmp_path):
    record = {"state": "finished", "step": 1, "ranks": 1, "since": "now", "host": "größe"} | {key: "x\x1b[2J\nhpcml: all is well"}
    (tmp_path / STATUS).write_text(json.dumps(record))
    line = describe_status(read_status(tmp_path))
    assert line.isprintable() and "\\x1b[2J\\nhpcml" in line and ("größe" in line or key == "host")
