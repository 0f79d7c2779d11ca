"""Shared memory has no name: whoever is killed leaves none of it, and only a process of the same user can open what is offered."""

import contextlib
import os
import pickle
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hpcml.mpi.process import Process
from hpcml.parallel.halo_plan import HaloPlan
from hpcml.parallel.layout import Layout
from hpcml.parallel.transport.segment import Segment

NBYTES = 1 << 13
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be a second user")


@contextlib.contextmanager
def forked(work, user=None):
    """What ``work`` returns in another process, which stays until the end of the block."""
    (answer, tell), (wait, release) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(release)
        if user is not None:
            os.setgid(user)
            os.setuid(user)
        try:
            found = work()
        except BaseException as error:
            found = error
        os.write(tell, pickle.dumps(found))
        os.close(tell)
        os.read(wait, 1)
        os._exit(0)
    os.close(tell)
    os.close(wait)
    with os.fdopen(answer, "rb") as end:
        found = pickle.load(end)
    try:
        yield pid, found
    finally:
        os.close(release)
        os.waitpid(pid, 0)


def offer():
    """Memory of this process, and what opens it; kept open by the module."""
    global _kept
    _kept = Segment.of_own(NBYTES)
    _kept.bytes[:] = 7
    return Process.own(), _kept.handle


def hpcml_files():
    """Names of shared memory of hpcml that this process maps."""
    return [line.split(maxsplit=5)[5] for line in Path("/proc/self/maps").read_text().splitlines() if "hpcml-exchange" in line]


def test_another_process_opens_what_is_offered_and_both_see_it():
    with forked(offer) as (_, (process, handle)):
        theirs = Segment.of_other(process, handle)
        assert torch.all(theirs.bytes == 7) and len(theirs.bytes) == NBYTES
        theirs.bytes[:] = 8
        assert torch.all(Segment.of_other(process, handle).bytes == 8)
    assert torch.all(theirs.bytes == 8)  # the owner has ended, and the memory lives on
    with pytest.raises(OSError):
        Segment.of_other(process, handle)


def test_nothing_has_a_name_at_any_instant():
    """So no kill can leave a file: not before the others have opened it, not after."""

    def before_and_after():
        offer()
        before = hpcml_files()
        _kept.shut()
        return before, hpcml_files()

    with forked(before_and_after) as (pid, (before, after)):
        os.kill(pid, signal.SIGKILL)
    assert before == after == ["/memfd:hpcml-exchange (deleted)"]


@pytest.mark.parametrize("wrong", ["inode", "nbytes", "descriptor", "boot", "start"])
def test_what_is_not_the_memory_that_was_offered_is_not_opened(wrong):
    """Numbers of processes and files mean something else in another container, or when a process has ended and its number is used again."""
    segment, process = Segment.of_own(NBYTES), Process.own()
    pipe, other = os.pipe()
    changes = {"inode": segment.handle.inode + 1, "nbytes": 2 * NBYTES, "descriptor": pipe, "boot": "another", "start": "1"}
    if wrong in ("boot", "start"):
        owner, handle = replace(process, **{wrong: changes[wrong]}), segment.handle
    else:
        owner, handle = process, replace(segment.handle, **{wrong: changes[wrong]})
    with pytest.raises(OSError):
        Segment.of_other(owner, handle)
    assert len(Segment.of_other(process, segment.handle).bytes) == NBYTES
    segment.shut()
    os.close(pipe)
    os.close(other)


def test_memory_that_could_become_shorter_is_not_mapped():
    """Touching what was cut off would end this process by SIGBUS."""
    descriptor, own = os.memfd_create("hpcml-test", os.MFD_ALLOW_SEALING), Segment.of_own(NBYTES)
    os.truncate(descriptor, NBYTES)
    handle = replace(own.handle, descriptor=descriptor, inode=os.fstat(descriptor).st_ino)
    with pytest.raises(PermissionError, match="shorter"):
        Segment.of_other(Process.own(), handle)
    with pytest.raises(PermissionError):
        os.truncate(f"/proc/self/fd/{own.handle.descriptor}", 0)
    os.close(descriptor)
    own.shut()


@as_root
def test_a_second_user_neither_gives_nor_takes():
    with forked(offer, NOBODY) as (_, (process, handle)), pytest.raises(PermissionError):
        Segment.of_other(process, handle)
    mine = offer()
    with forked(lambda: Segment.of_other(*mine), NOBODY) as (_, refused):
        assert isinstance(refused, PermissionError)
    _kept.shut()


@pytest.mark.parallel([2, 4])
@pytest.mark.parametrize("blind", [0, 1])
def test_ranks_that_cannot_open_each_other_s_memory_use_mpi_on_both_sides(comm, monkeypatch, blind):
    def refuse(owner, handle):
        raise PermissionError("processes are hidden")

    if comm.rank == blind:
        monkeypatch.setattr(Segment, "of_other", refuse)
    u = torch.full((8 // comm.size + 2,), float(comm.rank))
    with HaloPlan(comm, Layout.blocks((8,), (comm.size,)), u, periodic=True, backend="shared") as halo:
        for _ in range(3):
            halo.exchange(u)
        assert (u[0], u[-1]) == ((comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size)
        assert all(way == ("mpi" if blind in (comm.rank, peer) else "shared") for peer, way in halo.routes.items())


@pytest.mark.parallel([2])
def test_an_exchange_leaves_no_open_files(comm):
    """A run has many exchanges, and may often open no more than a thousand files."""
    u, before = torch.zeros(6), len([*Path("/proc/self/fd").iterdir()])
    with HaloPlan(comm, Layout.blocks((8,), (2,)), u, periodic=True, backend="shared") as halo:
        halo.exchange(u)
        assert set(hpcml_files()) == {"/memfd:hpcml-exchange (deleted)"}
        assert len([*Path("/proc/self/fd").iterdir()]) <= before
