"""A signal to one rank stops all ranks at the same step, with the state saved."""

import signal
import subprocess
import time

import pytest

from hpcml.io import StopSignal

PROGRAM = """
import os, signal, sys, time
from mpi4py import MPI
from hpcml.io import Checkpointer, StopSignal
from hpcml.io.checkpoint.signals import PREEMPTED
comm = MPI.COMM_WORLD
with StopSignal(comm) as stop, Checkpointer(sys.argv[1], comm) as checkpointer:
    for step in range(1, 1000):
        if step == 5 and comm.rank == comm.size - 1 and sys.argv[2] == "self":
            os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.01)
        if stop.agreed():
            checkpointer.save(step, {"step": step})
            break
        if step == 3:
            os.write(1, b"running\\n")
print("stopped at", step, flush=True)
sys.exit(PREEMPTED)
"""


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_one_rank_asked_is_all_ranks_asked(comm, number):
    before = signal.getsignal(number)
    with StopSignal(comm) as stop:
        assert not stop.agreed()
        if comm.rank == comm.size - 1:
            signal.raise_signal(number)
        assert stop.agreed()
    assert signal.getsignal(number) is before


def test_all_ranks_save_the_same_step_and_exit_85(mpiexec, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    done = mpiexec(3, tmp_path / "program.py", tmp_path / "run", "self")
    assert done.returncode == 85, done.stderr
    assert done.stdout.count("stopped at 5\n") == 3
    assert list((tmp_path / "run").glob("step-000000005-*/commit.json"))


def test_the_launcher_passes_the_signal_on(mpiexec, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    command = mpiexec.command(2, tmp_path / "program.py", tmp_path / "run", "launcher")
    with subprocess.Popen(command, env=mpiexec.env, stdout=subprocess.PIPE, text=True, start_new_session=True) as job:
        assert job.stdout.readline() == "running\n"
        time.sleep(0.2)
        job.send_signal(signal.SIGUSR1)
        out, _ = job.communicate(timeout=60)
    assert job.returncode == 85 and len(set(line for line in out.splitlines() if line.startswith("stopped"))) == 1
    assert len(list((tmp_path / "run").glob("step-*/commit.json"))) == 1
