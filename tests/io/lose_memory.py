"""Ranks that save, die and come back: what `test_memory` launches.

mpiexec -n P python lose_memory.py save FOLDER STEPS LOSSES LOST...      the keepers of the LOST ranks die with them
mpiexec -n P python lose_memory.py restore FOLDER                        rank 0 prints step, level and whether the state is right
"""

import os
import signal
import sys

import numpy as np
from mpi4py import MPI

from hpcml.io import Blocked, Checkpointer, Rows

CELLS = 30_001


def state(step, comm):
    generator = np.random.default_rng([step, comm.rank])
    return {
        "w": np.random.default_rng(step).random((37, 41)),
        "u": Blocked(generator.random(CELLS), (comm.rank * CELLS,), (comm.size * CELLS,)),
        "buffer": Rows(generator.random((comm.rank + 1, 3))),
        "step": step,
    }


def save(folder, steps, losses, lost):
    comm = MPI.COMM_WORLD
    checkpointer = Checkpointer(folder, comm, losses=losses, group_size=4, linger=300.0)  # a restart takes long on a busy machine
    for step in range(1, steps + 1):
        checkpointer.save(step, state(step, comm))
    checkpointer.wait()
    comm.Barrier()
    if comm.rank in lost:
        os.kill(checkpointer._link._process.pid, signal.SIGKILL)
    comm.Barrier()
    os.kill(os.getpid(), signal.SIGKILL)


def restore(folder):
    comm = MPI.COMM_WORLD
    with Checkpointer(folder, comm) as checkpointer:
        restored = checkpointer.restore(state(0, comm))
        want = state(restored.step, comm)
        right = restored.state["step"] == restored.step and all(
            np.array_equal(restored.state[name], getattr(want[name], "array", want[name])) for name in ("w", "u", "buffer")
        )
        right = comm.allreduce(right, op=MPI.LAND)
        checkpointer.save(restored.step + 1, state(restored.step + 1, comm))
    if comm.rank == 0:
        print("restored", restored.step, restored.level, right, flush=True)


if sys.argv[1] == "save":
    save(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), set(map(int, sys.argv[5:])))
else:
    restore(sys.argv[2])
