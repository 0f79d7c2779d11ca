"""Keepers of two ranks, driven by hand: what both have complete is saved, whoever was ahead when the ranks died."""

import os
import shutil
import signal
import time

import pytest

from hpcml.io.checkpoint.keeper import channel
from hpcml.io.checkpoint.keeper.link import KeeperLink
from hpcml.io.checkpoint.stored.catalog import survey
from hpcml.io.files.lock import HEIR, FolderLock
from hpcml.io.files.owner import read_owner

PAGE = 4096


@pytest.fixture
def links(tmp_path):
    def start(rank):
        options = {"rank_process": os.getpid(), "rank": rank, "size": 2, "folder": str(tmp_path), "keep": 2, "linger": 0.0, "lock": ""}
        link = KeeperLink(options)
        for slot in range(3):
            fd = os.memfd_create("copy")
            os.ftruncate(fd, PAGE)
            link.set_image(slot, fd)
        return link

    return start(0), start(1)


def header(sequence):
    return {"step": 10 * sequence, "sequence": sequence, "session": "abc123", "size": 2, "written_by": "test"}


def steps_after_death(folder, links):
    """Steps on disk once the keepers have ended."""
    for link in links:
        link.close(clean=False)
    for link in links:
        link._process.wait()
    return [checkpoint.step for checkpoint in survey(folder).complete]


def test_a_rank_that_was_ahead_does_not_cost_the_save_that_both_have(tmp_path, links):
    for link in links:
        link.complete(0, header(1), flush=False)
    links[0].complete(1, header(2), flush=True)
    assert links[0].wait_written() is None
    assert steps_after_death(tmp_path, links) == [10]


def test_the_newest_common_save_wins_over_older_ones(tmp_path, links):
    for link in links:
        for slot in range(3):
            link.complete(slot, header(slot + 1), flush=slot == 0)
    assert steps_after_death(tmp_path, links)[0] == 30


def test_a_copy_that_was_being_overwritten_is_not_saved(tmp_path, links):
    for link in links:
        link.complete(0, header(1), flush=False)
        link.complete(1, header(2), flush=False)
    links[1].filling(1)
    assert steps_after_death(tmp_path, links) == [10]


def test_a_lost_keeper_of_the_first_rank_still_commits(tmp_path, links):
    for link in links:
        link.complete(0, header(1), flush=True)
    assert links[0].wait_written() is None
    links[0]._process.kill()
    links[0]._process.wait()
    assert links[0].wait_committed(1) is None
    assert [checkpoint.step for checkpoint in survey(tmp_path).complete] == [10]
    assert steps_after_death(tmp_path, links) == [10]


def test_what_is_committed_is_left_alone_after_death(tmp_path, links):
    for number in (1, 2):
        for link in links:
            link.complete(number, header(number), flush=True)
        assert all(link.wait_written() is None for link in links) and links[0].wait_committed(number) is None
    records = {path: path.stat().st_mtime_ns for path in tmp_path.glob("step-*/commit.json")}
    assert steps_after_death(tmp_path, links) == [20, 10]
    assert records == {path: path.stat().st_mtime_ns for path in tmp_path.glob("step-*/commit.json")}


def test_what_a_lost_keeper_had_committed_is_no_failure_once_it_is_pruned(tmp_path, links):
    """The keeper is lost before the rank hears of its commits, and only the newer of two is kept."""
    for number in (1, 2):
        for link in links:
            link.complete(number, header(number), flush=True)
        assert all(link.wait_written() is None for link in links) and links[0].wait_committed(number) is None
    shutil.rmtree(next(tmp_path.glob("step-000000010-*")))
    links[0].committed, links[0]._uncommitted = -1, {1: header(1), 2: header(2)}
    links[0]._process.kill()
    links[0]._process.wait()
    assert links[0].wait_committed(2) is None and links[0].wait_committed(1) is None
    assert steps_after_death(tmp_path, links) == [20]


def test_signals_to_the_whole_job_do_not_end_a_keeper(tmp_path, links):
    for link in links:
        link.complete(0, header(1), flush=False)
        for number in (signal.SIGUSR1, signal.SIGTERM):
            link._process.send_signal(number)
    assert steps_after_death(tmp_path, links) == [10]
    assert [link._process.returncode for link in links] == [0, 0]


def test_a_keeper_is_in_no_group_that_is_killed_with_the_rank_and_in_the_session_that_shares_its_cores(tmp_path, links):
    for link in links:
        keeper = link._process.pid
        assert os.getpgid(keeper) == keeper and os.getsid(keeper) == os.getsid(0)
        link.close(clean=True)


def test_the_disk_rests_for_as_long_as_a_copy_waited_for_a_core(tmp_path, links, monkeypatch):
    for link, waited in zip(links, (0.0, 0.3), strict=True):
        link.complete(0, header(1), flush=True)
        assert link.occupied()
        with monkeypatch.context() as context:
            context.setattr(channel, "receive", lambda end, waited=waited: ({"written": 1, "waited": waited}, []))
            start = time.monotonic()
            link._hear()
        assert link.flushing() == set() and link.occupied() == (waited > 0)
        while link.occupied():
            time.sleep(0.01)
        assert time.monotonic() - start >= waited
        link.close(clean=True)


def test_a_save_that_has_waited_for_long_ends_the_rest(tmp_path, links, monkeypatch):
    link = links[1]
    link.complete(0, header(1), flush=True)
    assert link.wait_written() is None and link.behind() == (0.0, 0)
    link._rest_until = time.monotonic() + 1e6  # as after a write that waited for a core for days
    assert link.occupied()
    for number in (2, 3):
        link.complete(number - 1, header(number), flush=False)
    assert link.occupied() and link.behind()[1] == 2
    link.max_age = 0.0
    assert not link.occupied()
    link.complete(2, header(3), flush=True)
    assert link.wait_written() is None and link.behind() == (0.0, 0)
    for link in links:
        link.close(clean=True)


def test_a_restart_waits_for_a_keeper_that_has_not_begun_to_work(tmp_path, monkeypatch):
    lock = FolderLock(tmp_path)
    stuck = tmp_path / "python"  # a process that gets no further
    stuck.write_text("#!/bin/sh\nexec sleep 600\n")
    stuck.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(stuck))
    options = {"rank_process": os.getpid(), "rank": 0, "size": 1, "folder": str(tmp_path), "keep": 2, "linger": 0.0, "lock": lock.token}
    link = KeeperLink(options)
    assert read_owner(tmp_path / HEIR)[0].process.pid == link._process.pid
    link._process.kill()
    link.close(clean=False)
    lock.close()
