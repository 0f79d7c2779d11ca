"""Of many who make a file, or replace somebody's, exactly one does; also where there are no links, and where one of them died at it."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest

from hpcml.io.files import exclusive
from hpcml.io.files.exclusive import create, exchange, replace_by
from hpcml.io.files.owner import Owner, read_owner

MANY, TIMES = 6, 20


@pytest.fixture(params=["links", "no links"])
def links(request, monkeypatch):
    def refuses(*arguments):
        raise OSError(errno.EPERM, "no links here")

    if request.param == "no links":
        monkeypatch.setattr(exclusive.os, "link", refuses)


def gone(path, owner):
    return owner.process.runs() is False


def at_once(act):
    """What `MANY` threads get that set out together."""
    barrier = Barrier(MANY)

    def work(number):
        barrier.wait()
        return act(number)

    with ThreadPoolExecutor(MANY) as pool:
        return list(pool.map(work, range(MANY)))


def test_one_of_many_makes_the_file_and_it_is_whole(tmp_path, links):
    for time in range(TIMES):
        path = tmp_path / str(time)
        made = at_once(lambda number, path=path: create(path, bytes([number]) * 300))
        assert made.count(True) == 1 and path.read_bytes() == bytes([made.index(True)]) * 300
    assert len(list(tmp_path.iterdir())) == TIMES


@pytest.mark.parametrize("died", [0, 1, 2], ids=lambda died: f"{died} died at it")
def test_one_of_many_takes_the_place_of_an_owner(tmp_path, links, died):
    """Also where those who were about to do so before have died."""
    dead = [replace(Owner.this(), process=replace(Owner.this().process, start=1)) for _ in range(1 + died)]
    for time in range(TIMES):
        path = place = tmp_path / str(time)
        for number, owner in enumerate(dead):
            place.write_bytes(owner.encode())
            place = place.with_name(f"{place.name}-{dead[number].token[:8]}")
        mine = [Owner.this() for _ in range(MANY)]

        def take(number, path=path, mine=mine):
            return exchange(path, dead[0], mine[number], gone, lambda: replace_by(path, mine[number].encode()))

        taken = at_once(take)
        assert taken.count(True) <= 1
        if not any(taken):  # each stood in the way of another: who tries again gets it
            taken[0] = take(0)
        assert read_owner(path)[0].token == mine[taken.index(True)].token
    assert len(list(tmp_path.iterdir())) == TIMES


def test_an_owner_that_has_changed_is_left_alone(tmp_path):
    path, before, now = tmp_path / "lock", Owner.this(), Owner.this()
    path.write_bytes(now.encode())
    assert not exchange(path, before, before, lambda *_: False, path.unlink)
    assert read_owner(path)[0] == now and [*tmp_path.iterdir()] == [path]


def test_an_answer_that_was_lost_is_found_out(tmp_path, monkeypatch):
    """A server has made the link, and says that there is one when it is asked again."""
    link = os.link

    def twice(source, target):
        link(source, target)
        link(source, target)

    monkeypatch.setattr(exclusive.os, "link", twice)
    assert create(tmp_path / "lock", b"x")


@pytest.mark.parametrize("name", ["", "no links"])
def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch, name):
    real = exclusive._write

    def half(path, content):
        if not name or "new" not in path.name:
            path.write_bytes(content[:3])
            raise OSError(errno.ENOSPC, "full")
        real(path, content)

    monkeypatch.setattr(exclusive, "_write", half)
    if name:
        monkeypatch.setattr(exclusive.os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links here")))
    with pytest.raises(OSError, match="full"):
        create(tmp_path / "lock", b"content")
    assert not list(tmp_path.iterdir())
