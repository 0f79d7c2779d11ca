"""A rank that holds the others up is named with what says so; a campaign counts how often."""

import importlib.util
import logging
import time
from pathlib import Path

import pytest
from mpi4py import MPI

from hpcml.mpi.meeting import meet
from hpcml.mpi.monitor import QUIET, Monitor
from hpcml.mpi.waited import times

WORK_S, DELAY_S = 0.01, 0.1


def step(monitor, number, comm, late=False):
    time.sleep(WORK_S + DELAY_S * late)
    meet(comm, "a step")
    monitor.after_step(number)
    meet(comm, "its end")
    monitor.look()


@pytest.mark.parallel([2, 3, 4])
def test_the_slow_rank_is_named_and_so_is_its_recovery(comm, caplog):
    said, slow = [], comm.size - 1
    with caplog.at_level(logging.INFO, "hpcml"), Monitor(comm, tell=lambda *what: said.append(what)) as monitor:
        for number in range(1, 19 + 4 * QUIET):
            step(monitor, number, comm, comm.rank == slow and 12 <= number < 18)
            if comm.rank == 0 and number == 12:
                assert not said
    if comm.rank > 0:
        assert not said
        return
    line, nodes = said[0]
    assert line.startswith(f"rank {slow} on {nodes[0]}") and "holds the others up: each of 3 updates to 1" in line, said
    assert len(nodes) == 1 and said[1] == ("", ())
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


@pytest.mark.parallel([2, 3])
def test_waiting_is_no_work_of_ones_own(comm):
    """Whoever waits for a late rank, by whatever way, has spent that time waiting."""
    before = times()
    for _ in range(5):
        time.sleep(3 * DELAY_S * (comm.rank == 0))
        meet(comm, "a step")
    took = times().since(before)
    late = 15 * DELAY_S  # far above what another process has the core of the rank that waits for
    assert took.own >= late if comm.rank == 0 else took.waited > late / 2 and took.own < took.elapsed - late / 2


def test_one_rank_is_not_monitored():
    with Monitor(MPI.COMM_SELF) as monitor:
        monitor.after_step(1)
        monitor.look()


@pytest.mark.parallel([4])
def test_a_slow_rank_of_a_training_is_named(comm):
    """A training of `find_slow_ranks`, whose whole campaign is run by hand; with a delay that no other process makes look small."""
    spec = importlib.util.spec_from_file_location("find_slow_ranks", Path(__file__).with_name("find_slow_ranks.py"))
    campaign = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(campaign)
    campaign.DELAY_S = 0.5
    with campaign.decompose(campaign.Grid((32, 32)), comm) as domain:
        named, _, wrong = campaign.trial(domain, 0, True, 20)
    assert comm.rank > 0 or (named and not wrong)
