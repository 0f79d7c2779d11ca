"""A rank that fails alone ends the job at once with its traceback; ranks that fail together say so once."""

import time

import pytest

PRELUDE = """
import os, signal, sys, threading, time
import hpcml.mpi
from hpcml.core.errors import ShapeError
world = hpcml.mpi.world()
comm, rank = world.comm, world.rank
comm.Barrier()
if rank == 0:
    print("failing at", time.time(), flush=True)
"""
END_S = 5.0  # what a job may take from its failure to its end, on a machine that has nothing else to do


def run(mpiexec, body, ranks=3):
    result = mpiexec(ranks, "-c", PRELUDE + body)
    end = time.time()
    times = [float(line.split()[-1]) for line in result.stdout.splitlines() if line.startswith("failing at")]
    return result, end - times[0] if times else float("nan")


@pytest.fixture(scope="module")
def end_s(mpiexec):
    """`END_S`, and more where even a job that does nothing takes long to end."""
    return END_S + 5 * run(mpiexec, "")[1]


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ("if rank == 1: raise ValueError('bad luck')\ncomm.Barrier()", 1, "ValueError: bad luck"),
        ("if rank == 1: raise ShapeError('too wide')\ncomm.Barrier()", 2, "ShapeError: too wide"),
        ("if rank == 1: sys.exit(3)\ncomm.Barrier()", 3, "left with exit code 3"),
        ("if rank == 1: signal.raise_signal(signal.SIGINT)\ncomm.Barrier()", 130, "KeyboardInterrupt"),
    ],
    ids=["error", "hpcml-error", "sys-exit", "interrupt"],
)
def test_a_rank_that_fails_alone_ends_the_job(mpiexec, end_s, body, code, text):
    result, seconds = run(mpiexec, body)
    assert result.returncode != 0 and mpiexec.status(result) in (code, None)
    assert "[rank 1 of 3 on " in result.stderr and result.stderr.count(text) == 1
    assert seconds < end_s


@pytest.mark.parametrize("space", ["grid", "graph"])
def test_a_block_of_another_shape_on_one_rank_ends_the_job_without_world_too(mpiexec, space):
    """On mpi4py's own communicator, where nothing watches over uncaught exceptions; the other rank waits for the layer's messages."""
    body = f"""
import sys, torch
from mpi4py import MPI
from hpcml.fields import Grid, decompose
from hpcml.graphs import MeshGraph, structured
from hpcml.models import MeshGraphNet
from hpcml.models.layers import Conv2d
comm = MPI.COMM_WORLD
if "{space}" == "grid":
    domain = decompose(Grid((12, 12)), comm)
    model, x = Conv2d(domain, 1, 1, 3, padding=1), torch.zeros(1, 1, *domain.local_shape)
else:
    mesh = structured((6, 6), (1.0, 1.0))
    graph = MeshGraph.deal(mesh.points if comm.rank == 0 else mesh.points[:0], mesh.cells if comm.rank == 0 else {{}}, comm).graph
    model, x = MeshGraphNet(graph, 1, 1, channels=4, steps=1), torch.zeros(1, *graph.local_shape, 1)
model(x[:, :, :-1] if comm.rank == 1 and "{space}" == "grid" else x[:, :-1] if comm.rank == 1 else x).sum().backward()
comm.Barrier()
"""
    result = mpiexec(2, "-c", body, timeout=120)  # far less than the patience of the other
    assert result.returncode != 0 and "rank 1 of 2 expected its block" in result.stderr and "patience" not in result.stderr


def test_a_rank_that_fails_inside_backward_ends_the_job(mpiexec):
    body = """
import torch
class Fails(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()
    @staticmethod
    def backward(ctx, grad):
        if rank == 1:
            raise ValueError("in backward")
        comm.Barrier()
if rank == 0:
    print("failing at", time.time(), flush=True)
Fails.apply(torch.ones(1, requires_grad=True)).backward()
"""
    result, _ = run(mpiexec, body, ranks=2)
    assert mpiexec.status(result) in (1, None) and "[rank 1 of 2" in result.stderr and result.stderr.count("ValueError: in backward") == 1


def test_an_error_is_told_beside_torch_distributed(mpiexec):
    """Which wraps the hook for uncaught exceptions, and keeps what is printed there until it returns: an abort does not."""
    body = """
import torch.distributed as dist
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
if rank == 0: raise ShapeError("too wide")
comm.Barrier()
"""
    result, _ = run(mpiexec, body)
    assert result.returncode != 0 and "hpcml: error: too wide" in result.stderr and "[rank 0 of 3 on " in result.stderr


def test_a_thread_that_fails_ends_the_job(mpiexec, end_s):
    result, seconds = run(mpiexec, "if rank == 1: threading.Thread(target=lambda: 1 / 0).start()\ncomm.Barrier()\ntime.sleep(30)")
    assert result.returncode != 0 and result.stderr.count("ZeroDivisionError") == 1
    assert seconds < end_s


def test_a_killed_rank_ends_the_job(mpiexec, end_s):
    result, seconds = run(mpiexec, "if rank == 1: os.kill(os.getpid(), signal.SIGKILL)\ncomm.Barrier()")
    assert result.returncode != 0
    assert seconds < end_s


def test_an_error_of_all_ranks_is_told_once_without_traceback(mpiexec, end_s):
    result, seconds = run(mpiexec, "raise ShapeError('the field is too wide')")
    assert result.returncode == 2
    assert result.stderr.count("hpcml: error: the field is too wide") == 1
    assert "Traceback" not in result.stderr and "abort" not in result.stderr.lower()
    assert seconds < end_s


def test_a_bug_on_all_ranks_is_traced_once(mpiexec):
    result, _ = run(mpiexec, "raise KeyError('speed')")
    assert result.returncode == 1
    assert result.stderr.count("KeyError: 'speed'") == 1 and "abort" not in result.stderr.lower()


def test_different_errors_at_once_are_each_told_by_the_lowest_rank(mpiexec):
    result, _ = run(mpiexec, "raise KeyError('speed') if rank else ShapeError('too wide')")
    assert result.stderr.count("KeyError: 'speed'") == 1 and "[rank 1 of 3]" in result.stderr
    assert result.stderr.count("too wide") == 1


def test_sys_exit_of_all_ranks_is_no_failure_of_one(mpiexec):
    result, _ = run(mpiexec, "sys.exit(4)")
    assert result.returncode == 4 and "alone" not in result.stderr


def test_a_rank_may_leave_early_if_it_leaves_well(mpiexec):
    body = """
if rank == 0:
    time.sleep(3)  # longer than a failing rank would wait for the others
    sys.exit()
elif rank == 1:
    sys.exit(0)
try:
    sys.exit(5)
except SystemExit:
    pass
"""
    result, _ = run(mpiexec, body)
    assert result.returncode == 0, result.stderr


def test_an_unfinished_message_does_not_keep_a_failed_job(mpiexec):
    body = "import numpy as np\ncomm.Isend(np.zeros(1 << 20), (rank + 1) % 3)\nraise ShapeError('cut off')"
    result, _ = run(mpiexec, body)
    assert result.returncode != 0 and result.stderr.count("hpcml: error: cut off") == 1


def test_one_rank_behaves_as_python_does(mpiexec):
    result = mpiexec(1, "-c", "import hpcml.mpi\nhpcml.mpi.world()\nraise ValueError('plain')")
    assert result.returncode == 1 and result.stderr.startswith("Traceback") and "ValueError: plain" in result.stderr


def test_handle_gives_the_exit_code_of_each_kind(capsys):
    from hpcml.core.errors import ConfigError
    from hpcml.mpi.abort import handle

    errors = [ConfigError("no such key"), ValueError("bug"), KeyboardInterrupt(), SystemExit(7), SystemExit("told"), SystemExit()]
    assert [handle(error) for error in errors] == [2, 1, 130, 7, 1, 0]
    assert capsys.readouterr().err.splitlines() == ["hpcml: error: no such key", "ValueError: bug", "hpcml: interrupted"]


def test_rank_0_says_what_it_failed_with_once_and_where(mpiexec):
    result, _ = run(mpiexec, "if rank == 0: raise ShapeError('too wide')\ncomm.Barrier()")
    assert result.returncode != 0 and result.stderr.count("too wide") == 1
    assert "[rank 0 of 3 on " in result.stderr and "alone] failed with this ShapeError at\n  File " in result.stderr
