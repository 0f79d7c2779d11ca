"""A restart takes what is nearest: memory, parity, disk."""

import shutil
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "lose_memory.py"


@pytest.mark.parametrize(
    ("size", "losses", "lost", "disk", "level"),
    [
        (2, 0, [], False, "memory"),
        (4, 1, [2], False, "parity"),
        (3, 1, [0], False, "parity"),
        (4, 2, [0, 3], False, "parity"),
        (4, 2, [1], False, "parity"),
        (4, 1, [1, 2], True, "disk"),
        (2, 0, [1], True, "disk"),
    ],
)
def test_a_restart_takes_the_nearest_level_that_is_complete(mpiexec, tmp_path, size, losses, lost, disk, level):
    run = tmp_path / "run"
    killed = mpiexec(size, PROGRAM, "save", run, 5, losses, *lost)
    assert killed.returncode != 0 and list(run.glob("step-000000005-*/commit.json"))
    if not disk:
        for path in run.glob("step-*"):
            shutil.rmtree(path)
    restarted = mpiexec(size, PROGRAM, "restore", run)
    assert f"restored 5 {level} True" in restarted.stdout, restarted.stdout + restarted.stderr


@pytest.mark.parametrize("size", [1, 3])
def test_on_one_node_memory_serves_any_number_of_ranks(mpiexec, tmp_path, size):
    """Blocks lie elsewhere on another number of ranks, so only replicated and whole arrays are compared here."""
    program = tmp_path / "again.py"
    program.write_text(
        "import sys; from mpi4py import MPI; import numpy as np; from hpcml.io import Checkpointer\n"
        "with Checkpointer(sys.argv[1], MPI.COMM_WORLD) as checkpointer:\n"
        "    restored = checkpointer.restore()\n"
        "    u = np.concatenate([np.random.default_rng([5, rank]).random(30_001) for rank in range(2)])\n"
        "    print('restored', restored.level, np.array_equal(restored.state['u'], u), len(restored.state['buffer']))\n"
    )
    mpiexec(2, PROGRAM, "save", tmp_path / "run", 5, 0)
    done = mpiexec(size, program, tmp_path / "run")
    assert sorted(done.stdout.splitlines()) == [f"restored memory True {3 // size}"] * size, done.stdout + done.stderr
