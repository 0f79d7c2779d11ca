"""A rank that does not come is waited for so long and no longer, and is named."""

import os
import re
import time

import pytest
from mpi4py import MPI

from hpcml.core.errors import CommunicationError, ConfigError
from hpcml.core.exit_status import LOST
from hpcml.mpi.meeting import meet
from hpcml.mpi.patience import lenient, patience_s, wait

PROGRAM = """
import sys, time
import numpy as np
import hpcml.mpi
from hpcml.mpi import all_sum

world = hpcml.mpi.world()
all_sum(np.ones(3), world.comm)
if world.rank == 0 and sys.argv[1] != "ends":
    time.sleep(1000)
elif world.rank:
    all_sum(np.ones(3), world.comm) if world.rank == 1 else world.comm.Split(0, 0)
"""


@pytest.mark.parametrize("absent", ["ends", "sleeps"])
def test_every_rank_that_waits_names_who_has_not_come(mpiexec, tmp_path, absent):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    result = mpiexec(3, program, absent, env={"HPCML_PATIENCE_S": "2"})
    assert mpiexec.status(result) in (LOST, None)
    assert re.search("rank [12] has waited", result.stderr), result.stderr  # some launchers end the other before it speaks
    assert "sum of float64 (3,)" in result.stderr and "Split" in result.stderr
    assert "rank 0 does not come" in result.stderr and "program.py:12)" in result.stderr, result.stderr


@pytest.mark.parallel([2, 3])
def test_a_wait_that_is_known_to_be_long_has_no_limit(comm, monkeypatch):
    monkeypatch.setenv("HPCML_PATIENCE_S", "0.1")
    with lenient():
        if comm.rank == 0:
            time.sleep(0.5)
        meet(comm, "Barrier")


@pytest.mark.parallel([2])
def test_who_comes_late_ends_the_wait(comm, monkeypatch):
    monkeypatch.setenv("HPCML_PATIENCE_S", "100")
    if comm.rank == 0:
        time.sleep(0.3)
    meet(comm, "Barrier")


@pytest.mark.parallel([2])
def test_the_reason_not_to_wait_on_is_raised(comm):
    with pytest.raises(CommunicationError, match="it has left"):
        wait(lambda: False, lambda: "nothing", comm, reason=lambda start: CommunicationError("it has left"))
    MPI.COMM_WORLD.Barrier()


@pytest.mark.parametrize("wish", ["soon", "0", "-1"])
def test_patience_is_a_positive_number(monkeypatch, wish):
    monkeypatch.setenv("HPCML_PATIENCE_S", wish)
    with pytest.raises(ConfigError, match=f"HPCML_PATIENCE_S='{wish}'"):
        patience_s()
    del os.environ["HPCML_PATIENCE_S"]
    assert patience_s() == 300
