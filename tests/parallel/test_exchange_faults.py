"""What goes wrong in the middle of an exchange ends soon with a named error: no hang, no crash when MPI finalises."""

import re
import signal
import time
from pathlib import Path

import pytest
import torch
from mpi4py import MPI

from hpcml.core.errors import CommunicationError, ConfigError
from hpcml.parallel.halo_plan import HaloPlan
from hpcml.parallel.layout import Layout
from hpcml.parallel.transport.choice import datatypes_possible

BACKENDS = ["shared", "mpi", *(["datatype"] if datatypes_possible() else [])]
END_S = 5.0
"""From the fault to the end of the launcher, which comes after that of every rank, on a machine that has nothing else to do."""
SURVIVE = ["--runtime-options", "continuous"] if MPI.get_vendor()[0] == "Open MPI" else ["-disable-auto-cleanup"]
"""Options of the launcher with which a job outlives one of its ranks, so that the others can be heard."""
SHIELD = [] if MPI.get_vendor()[0] == "Open MPI" else ["sh", "-c", 'trap "" USR1; "$@"; exit $?', "sh"]
"""MPICH's launcher all the same ends the survivors by a signal, more often than not, when it sees one of its own children killed."""
PROGRAM = """
import os, pathlib, signal, sys, time
import torch
import hpcml.mpi
from hpcml.parallel import HaloPlan, Layout

comm = hpcml.mpi.world().comm
u = torch.zeros(6)
with HaloPlan(comm, Layout.blocks((8,), (2,)), u, periodic=True, backend=sys.argv[1]) as halo:
    for _ in range(5):
        halo.exchange(u)
    if sys.argv[2] == "begun":
        halo.begin(u)
    if comm.rank == 1:
        pathlib.Path(sys.argv[3]).write_text(str(time.monotonic()))
        {fault}
    halo.end() if sys.argv[2] == "begun" else None
    halo.exchange(u)
"""
FAULTS = {
    "killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "raises": "raise ArithmeticError('in the middle')",
    "wrong shape": "halo.exchange(torch.zeros(7))",
    "none": "pass",
}


@pytest.fixture(scope="module")
def end_s(mpiexec, tmp_path_factory):
    """`END_S`, and more where even a job without a fault takes long to end."""
    folder = tmp_path_factory.mktemp("calibration")
    program, moment = folder / "program.py", folder / "moment"
    program.write_text(PROGRAM.format(fault=FAULTS["none"]))
    assert mpiexec(2, program, "shared", "idle", moment).returncode == 0
    return END_S + 5 * (time.monotonic() - float(moment.read_text()))


@pytest.mark.parametrize(
    ("backend", "fault", "when"),
    [("shared", "killed", "begun"), ("mpi", "killed", "idle"), ("shared", "raises", "begun"), ("mpi", "wrong shape", "idle")],
)
def test_a_rank_that_fails_ends_the_job_with_a_name(mpiexec, tmp_path, end_s, backend, fault, when):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(fault=FAULTS[fault]))
    plain = mpiexec.command
    if fault == "killed":
        mpiexec.command = lambda size, *args: [plain(0)[0], *SURVIVE, "-n", str(size), *SHIELD, *plain(size, *args)[3:]]
    moment = tmp_path / "moment"
    try:
        result = mpiexec(2, program, backend, when, moment)
        end = time.monotonic()  # one clock for all processes
    finally:
        mpiexec.command = plain
    took = end - float(moment.read_text())
    assert 0 < took < end_s
    named = {"killed": "hpcml: error: rank 0 waits in .* for rank 1", "raises": "ArithmeticError", "wrong shape": "ShapeError"}[fault]
    assert re.search(named, result.stderr), result.stderr
    assert result.returncode != 0 or fault == "killed"  # a launcher that lets a job outlive a rank may call that a success
    assert "Segmentation" not in result.stderr and result.returncode != -signal.SIGSEGV


@pytest.mark.parallel([2])
def test_a_rank_that_gives_up_tells_its_neighbor(comm):
    layout = Layout.blocks((8,), (2,))
    u = torch.full((6,), float(comm.rank))
    with HaloPlan(comm, layout, u, periodic=True, backend="shared") as halo:
        halo.exchange(u)
        if comm.rank == 1:
            halo.close()
        else:
            with pytest.raises(CommunicationError, match="waits in .* for rank 1, which has closed"):
                halo.exchange(u)


@pytest.mark.parallel([2])
@pytest.mark.parametrize("backend", BACKENDS)
def test_patience_ends(comm, backend, monkeypatch):
    comm = comm.Dup()  # what was given up may still arrive, and must not meet another test
    layout = Layout.blocks((8,), (2,))
    u = torch.zeros(6)
    monkeypatch.setenv("HPCML_PATIENCE_S", "0.3")
    with HaloPlan(comm, layout, u, periodic=True, backend=backend) as halo:
        if comm.rank == 0:
            with pytest.raises(CommunicationError, match="lives but does not come"):
                halo.exchange(u)
        MPI.COMM_WORLD.Barrier()  # one of MPI: on a communicator of hpcml a rank that hears that another has given up does so too
    monkeypatch.setenv("HPCML_PATIENCE_S", "soon")
    with pytest.raises(ConfigError, match="soon"):
        HaloPlan(comm, layout, u, periodic=True, backend=backend)


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_exception_in_between_leaves_nothing_pending(comm, backend):
    layout = Layout.blocks((8,), (comm.size,))
    u = torch.full((8 // comm.size + 2,), float(comm.rank))
    for _ in range(2):  # the second plan works where the first has failed, with the same tag
        with pytest.raises(ArithmeticError), HaloPlan(comm, layout, u, periodic=True, backend=backend) as halo:
            halo.exchange(u)
            halo.begin(u)
            raise ArithmeticError("in between")
    with HaloPlan(comm, layout, u, periodic=True, backend=backend) as halo:
        halo.exchange(u)
        assert u[0] == (comm.rank - 1) % comm.size


def test_disorder_is_noticed_by_every_rank(mpiexec):
    """A few of the cases; `tests/parallel/disorder.py` holds them all."""
    result = mpiexec(3, Path(__file__).with_name("disorder.py"), 47, 5)
    assert " 0 bad" in result.stdout, result.stdout + result.stderr
