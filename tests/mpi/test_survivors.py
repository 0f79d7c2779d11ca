"""Ranks are killed and stopped: those that are left go on, fewer or with those that stood by, and end as one job."""

import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.online.kill_ranks import ULFM, disturbed, ranks_of

HOWTO = Path(__file__).parents[2] / "docs" / "howto" / "outlive_ranks.md"
SUMS = """
import os, signal, sys
import hpcml.mpi
from hpcml.core.errors import TopologyError

victims, number, spares, multiple = eval(sys.argv[1]), getattr(signal, sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
world, attempts = hpcml.mpi.world(), []
me = world.rank

def work(world):
    attempts.append(world.size)
    if world.size % multiple:
        raise TopologyError(f"{world.size} ranks are no multiple of {multiple}")
    for turn in range(20):
        assert hpcml.mpi.all_sum(1, world.comm) == world.size
        if turn == 10 and me in victims[len(attempts) - 1 : len(attempts)]:
            os.kill(os.getpid(), number)
    return world.size

print("rank", me, "worked on", hpcml.mpi.surviving(world, work, spares), "after", attempts, flush=True)
sys.exit(7)
"""


@pytest.fixture
def outliving(mpiexec):
    """The launcher of an MPI that outlives its ranks."""
    if "Open MPI v5" not in mpiexec.product:
        pytest.skip(f"{mpiexec.product.splitlines()[0]} ends when a rank dies")
    return mpiexec


@pytest.fixture
def run(outliving, tmp_path):
    """Start the sums on ranks of which some die; the status, what each rank says, and the errors."""
    (tmp_path / "sums.py").write_text(SUMS)

    def start(size, *words, options=ULFM):
        path, *rest = outliving.command(size, tmp_path / "sums.py", *words)
        done = subprocess.run([path, *options, *rest], env=outliving.env, capture_output=True, text=True, timeout=200)
        return done.returncode, sorted(line for line in done.stdout.splitlines() if line.startswith("rank")), done.stderr

    return start


def test_those_that_are_left_do_the_work_again_and_leave_with_one_status(run):
    status, said, err = run(4, "[2, 0]", "SIGKILL", 0, 1)
    assert said == [f"rank {rank} worked on 2 after [4, 3, 2]" for rank in (1, 3)], (said, err)
    assert status == 7 and "rank 2 died: 3 go on" in err and "rank 0 died: 2 go on" in err, (status, err)


def test_a_rank_that_stands_by_takes_the_place_of_one_that_is_stopped(run):
    status, said, err = run(4, "[1]", "SIGSTOP", 1, 1)
    assert said == [f"rank {rank} worked on 3 after {[3, 3] if rank < 3 else [3]}" for rank in (0, 2, 3)], (said, err)
    assert status == 7 and "rank 1 has been stopped for 3 s: it is ended" in err, (status, err)


def test_where_the_work_refuses_so_many_the_last_stand_by(run):
    status, said, err = run(4, "[1]", "SIGKILL", 0, 2)
    assert said == [f"rank {rank} worked on 2 after {[4, 3, 2] if rank < 3 else [4, 3]}" for rank in (0, 2, 3)], (said, err)
    assert status == 7, (status, err)


def test_an_error_of_the_work_ends_the_job_as_ever(run):
    for size, spares in ((3, 0), (4, 1)):
        status, said, err = run(size, "[]", "SIGKILL", spares, 2)
        assert status == 2 and not said and err.count("hpcml: error: 3 ranks are no multiple of 2") == 1, (status, said, err)
        assert "Traceback" not in err and "alone" not in err, err


def test_without_such_an_mpi_nobody_stands_by(run):
    status, said, err = run(2, "[]", "SIGKILL", 0, 1, options=())
    assert status == 7 and said == [f"rank {rank} worked on 2 after [2]" for rank in (0, 1)], (status, said, err)
    status, said, err = run(2, "[]", "SIGKILL", 1, 1, options=())
    assert status == 2 and "Open MPI, as mpiexec --with-ft ulfm" in err, (status, said, err)


def test_a_request_to_stop_outlives_those_that_die_with_it(outliving, tmp_path):
    program = """
import os, signal
import hpcml.mpi

world, attempts = hpcml.mpi.world(), []
me = world.rank

def work(world):
    attempts.append(world.size)
    with hpcml.mpi.StopSignal(world.comm) as stop:
        for turn in range(20):
            if turn == 10 and len(attempts) == 1:
                os.kill(os.getpid(), signal.SIGKILL if me == 1 else signal.SIGUSR1)
            if stop.agreed():
                return turn

print("rank", me, "stopped at", hpcml.mpi.surviving(world, work), "after", attempts, flush=True)
"""
    (tmp_path / "stops.py").write_text(program)
    path, *rest = outliving.command(3, tmp_path / "stops.py")
    done = subprocess.run([path, *ULFM, *rest], env=outliving.env, capture_output=True, text=True, timeout=200)
    said = sorted(line for line in done.stdout.splitlines() if line.startswith("rank"))
    assert said == [f"rank {rank} stopped at 0 after [3, 2]" for rank in (0, 2)], done


def test_a_rank_that_hangs_is_ended_by_those_that_wait_for_it(outliving, tmp_path):
    """In C, with Python's lock: no thread of it can answer."""
    (tmp_path / "hangs.py").write_text(SUMS.replace("os.kill(os.getpid(), number)", "import ctypes; ctypes.PyDLL(None).pause()"))
    path, *rest = outliving.command(3, tmp_path / "hangs.py", "[1]", "SIGKILL", 0, 1)
    done = subprocess.run([path, *ULFM, *rest], env=outliving.env | {"HPCML_PATIENCE_S": "3"}, capture_output=True, text=True, timeout=200)
    assert done.returncode == 7 and "rank 1 does not come and says nothing: it is ended" in done.stderr, done


def test_a_program_of_ones_own_goes_on_as_the_how_to_says(outliving, tmp_path):
    (tmp_path / "own.py").write_text(re.search("```python\n(.*?)```", HOWTO.read_text(encoding="utf-8"), re.DOTALL)[1])
    path, *rest = outliving.command(3, "own.py")
    environment = outliving.env | {"HPCML_PATIENCE_S": "60"}
    job = subprocess.Popen([path, *ULFM, *rest], env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    metrics = tmp_path / "runs" / "own" / "metrics.csv"
    while job.poll() is None and not (metrics.exists() and len(metrics.read_text().splitlines()) > 2):
        time.sleep(0.01)
    os.kill(ranks_of(job.pid)[0], signal.SIGKILL)
    said = job.communicate(timeout=200)[0]
    assert job.returncode == 0 and "rank 0 died: 2 go on" in said and said.count("on 2 ranks") == 2, said
    assert len(metrics.read_text().splitlines()) == 21, said


@pytest.mark.parametrize(("command", "seed"), [("online", 1), ("train", 2)])
def test_jobs_of_which_ranks_are_killed_come_to_their_end(outliving, tmp_path, command, seed):
    """A few of the kills that the campaign makes by the dozen."""
    error, killed, _ = disturbed(command, tmp_path / "job", 4, 2, random.Random(seed), 3.0)
    assert error < 0.2 and killed, (error, killed)
