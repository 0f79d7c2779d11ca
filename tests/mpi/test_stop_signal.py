"""A signal to one rank stops all ranks at the same step, with the state saved."""

import signal
import subprocess
import sys
import threading
import time

import pytest
from mpi4py import MPI

from hpcml.mpi import StopSignal

PROGRAM = """
import os, signal, sys, time
from mpi4py import MPI
from hpcml.io import Checkpointer
from hpcml.mpi import StopSignal
from hpcml.core.exit_status import PREEMPTED
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


@pytest.mark.parallel([1, 2])
def test_in_another_thread_it_hears_of_no_signal_and_raises_nothing(comm):
    answers = []

    def work():
        with StopSignal(MPI.COMM_SELF) as stop:
            answers.append(stop.agreed())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert answers == [False]


def test_a_request_before_there_is_anything_to_stop_counts():
    code = """
import os, signal, sys
from hpcml.core.stop_request import listen
listen()
assert not {"mpi4py", "torch", "numpy", "asyncio"} & set(sys.modules)
os.kill(os.getpid(), signal.SIGUSR1)
from mpi4py import MPI
from hpcml.mpi import StopSignal
with StopSignal(MPI.COMM_SELF) as stop:
    print(stop.agreed())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


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
        out, _ = job.communicate(timeout=300)
    assert job.returncode == 85 and len(set(line for line in out.splitlines() if line.startswith("stopped"))) == 1
    assert len(list((tmp_path / "run").glob("step-*/commit.json"))) == 1


@pytest.mark.parallel([1, 2, 3])
def test_no_step_is_begun_that_would_end_after_the_job(comm, monkeypatch):
    """Times are those of a clock that the test moves: one rank's steps take longer, and a long preparation is no step."""
    clock = [1000.0]
    monkeypatch.setattr("hpcml.mpi.stop_signal.time.time", lambda: clock[0])
    monkeypatch.setenv("HPCML_JOB_END", "1200")
    step = 30.0 if comm.rank == comm.size - 1 else 1.0
    with StopSignal(comm) as stop:
        answers = []
        for gap in (0.0, 100.0, *[step] * 3):
            clock[0] += gap
            answers.append(stop.agreed())
    assert answers == [False, False, False, True, True]  # 1160 + 45 is beyond, 1130 + 45 is not
    monkeypatch.setenv("HPCML_JOB_END", "soon")
    with StopSignal(comm) as stop:
        assert not any(stop.agreed() for _ in range(4))
