"""A rank ends with its launcher, and what it saved last is kept."""

import os
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from hpcml.io.checkpoint.stored.catalog import survey

PROGRAM = """
import os, sys, time, numpy as np
from mpi4py import MPI
from hpcml.io import Checkpointer
from hpcml.mpi.launcher_watch import find_launcher
checkpointer = Checkpointer(sys.argv[1], MPI.COMM_WORLD, linger=0.0)
for step in range(1, 4):
    checkpointer.save(step, {"step": step})
with open(sys.argv[1] + "/told", "w") as told:
    told.write(f"{os.getpid()} {find_launcher()}\\n")
while True:
    time.sleep(0.01)
"""

BARE = """
import os, sys, time
from pathlib import Path
from mpi4py import MPI
from hpcml.io import Field, Series, SnapshotWriter, UniformGrid
folder = Path(sys.argv[1])
folder.mkdir()
writer = SnapshotWriter(folder / "run.h5", Series(UniformGrid.dealt((4, 6), (1.0, 1.5)), [Field("u")]), MPI.COMM_WORLD)
(folder / "told").write_text(f"{os.getpid()}\\n")
while True:
    time.sleep(0.01)
"""


def test_whoever_writes_snapshots_ends_with_its_launcher(mpiexec, tmp_path):
    run = tmp_path / "run"
    (tmp_path / "program.py").write_text(BARE)
    command = mpiexec.command(1, tmp_path / "program.py", run)
    with subprocess.Popen(command, env=mpiexec.env, start_new_session=True, stderr=subprocess.DEVNULL) as job:
        while not (run / "told").exists() or not (run / "told").read_text().endswith("\n"):
            assert job.poll() is None
            time.sleep(0.01)
        watch = os.pidfd_open(int((run / "told").read_text()))
        job.kill()
        select.select([watch], [], [])  # without end where the rank does not notice
        os.close(watch)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_rank_alone_ends_with_its_launcher(mpiexec, tmp_path, wrapped):
    run = tmp_path / "run"
    (tmp_path / "program.py").write_text(PROGRAM)
    command = mpiexec.command(1, tmp_path / "program.py", run)
    if wrapped:  # by a script that stays
        command[3:3] = ["sh", "-c", '"$@"; exit $?', "sh"]
    with subprocess.Popen(command, env=mpiexec.env, start_new_session=True, stderr=subprocess.DEVNULL) as job:
        while not (run / "told").exists() or not (run / "told").read_text().endswith("\n"):
            assert job.poll() is None
            time.sleep(0.01)
        rank, launcher = map(int, (run / "told").read_text().split())
        assert launcher != os.getpid() and b"mpiexec" not in Path(f"/proc/{rank}/cmdline").read_bytes()
        watch = os.pidfd_open(rank)
        for process in {job.pid, launcher}:
            os.kill(process, signal.SIGKILL)
        select.select([watch], [], [])  # without end where the rank does not notice
        os.close(watch)
    while not survey(run).complete or survey(run).complete[0].step < 3:
        time.sleep(0.01)
