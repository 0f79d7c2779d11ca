"""Kill a run that saves all the time, at random moments, and see what a restart finds.

    python tests/io/kill_checkpoint.py 300     a kill hits one rank, all ranks, a keeper, or all of them

After every kill the script restores on its own: the checkpoint must be whole, hold what its step says, and be no older than the newest save
that every rank had finished. Killing the keepers together with all ranks takes the copies in memory along: then the newest checkpoint that
was on disk counts. At the end no process and no shared memory may be left.
"""

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from hpcml.io.checkpoint.catalog import survey

CELLS = 1 << 18
TARGETS = ("rank", "ranks", "keeper", "everything")


def content(step, rank):
    return np.full(CELLS, 1000.0 * step + rank)


def run(folder, step_seconds):
    """The victim: saves after every step, forever."""
    from mpi4py import MPI

    from hpcml.io import Blocked, Checkpointer

    comm = MPI.COMM_WORLD

    def state(step):
        block = Blocked(content(step, comm.rank), (comm.rank * CELLS,), (comm.size * CELLS,))
        return {"step": step, "w": np.arange(5000.0) * step, "u": block}

    with Checkpointer(folder, comm, linger=2.0) as checkpointer:
        restored = checkpointer.restore(state(0))
        first = 1 if restored is None else restored.step + 1
        for step in range(first, 1 << 30):
            comm.Allreduce(MPI.IN_PLACE, np.ones(8))
            time.sleep(step_seconds)
            checkpointer.save(step, state(step))
            os.write(1, f"saved {step}\n".encode())


def restored_step(folder, size):
    """Step of what a restart finds, after comparing it with what that step must have written."""
    from mpi4py import MPI

    from hpcml.io import restore
    from hpcml.io.checkpoint.lock import FolderLock

    FolderLock(Path(folder), patience=20.0).close()  # what is left of the run may still be writing
    restored = restore(folder, MPI.COMM_SELF)
    if restored is None:
        return 0
    assert restored.skipped == {}, restored.skipped
    state, step = restored.state, restored.step
    assert state["step"] == step and np.array_equal(state["w"], np.arange(5000.0) * step)
    assert np.array_equal(state["u"], np.concatenate([content(step, rank) for rank in range(size)]))
    return step


def processes_of(folder):
    """Process ids of the ranks and of the keepers of a run, found by the folder on their command lines."""
    ranks, keepers = [], []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if folder.encode() in words and b"mpiexec" not in words and b"prte" not in words:
                (keepers if b"checkpoint.keeper" in words else ranks).append(int(entry.name))
    return ranks, keepers


def kill_once(folder, size, rng, launcher):
    """Start the run and kill something at a random moment; return what, and the step that a restart must find at least."""
    log = Path(folder).with_suffix(".log").open("w+")
    command = [launcher, "-n", str(size), sys.executable, __file__, "run", folder, f"{rng.choice([0.0, 0.01, 0.05])}"]
    job = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    deadline = time.monotonic() + 60
    while newest_saved(log, size) == 0:
        assert time.monotonic() < deadline and job.poll() is None, f"the run did not start:\n{Path(log.name).read_text()}"
        time.sleep(0.02)
    time.sleep(rng.uniform(0, 0.5))
    target = rng.choice(TARGETS)
    ranks, keepers = processes_of(folder)
    on_disk = max((checkpoint.step for checkpoint in survey(Path(folder)).complete), default=0)
    victims = {"rank": [rng.choice(ranks)], "ranks": ranks, "keeper": [rng.choice(keepers)], "everything": ranks + keepers}[target]
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    if target == "keeper":  # the run goes on without noticing; a rank dies later
        time.sleep(0.5)
        assert job.poll() is None, f"the run did not survive the loss of a keeper:\n{Path(log.name).read_text()}"
        os.kill(rng.choice(processes_of(folder)[0]), signal.SIGKILL)
    try:
        job.wait(timeout=30)
    except subprocess.TimeoutExpired:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    return target, on_disk if target == "everything" else newest_saved(log, size)


def newest_saved(log, size):
    """The newest step that every rank had saved."""
    log.seek(0)
    steps = re.findall(r"saved (\d+)$", log.read(), re.MULTILINE)
    return max((int(step) for step, ranks in Counter(steps).items() if ranks == size), default=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kills", type=int)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, launcher = random.Random(arguments.seed), shutil.which("mpiexec", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    outcomes = Counter()
    with tempfile.TemporaryDirectory(prefix="kill-checkpoint-") as parent:
        folder = str(Path(parent) / "run")
        for count in range(1, arguments.kills + 1):
            target, at_least = kill_once(folder, arguments.ranks, rng, launcher)
            found = restored_step(folder, arguments.ranks)
            assert found >= at_least, f"kill {count} of {target}: a restart finds step {found}, {at_least} was saved"
            outcomes[target] += 1
            print(f"kill {count} of {target}: step {found} restored, {at_least} needed", flush=True)
        deadline = time.monotonic() + 10
        while any(processes_of(folder)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not any(processes_of(folder)), f"left running: {processes_of(folder)}"
    # the copies are anonymous memory of the processes just looked for: only something with a name could be left
    assert not list(Path("/dev/shm").glob("*hpcml*")), "shared memory was left behind"
    print(f"{arguments.kills} kills ({dict(outcomes)}): every restart found a whole checkpoint, nothing was lost, nothing was left behind")


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        run(sys.argv[2], float(sys.argv[3]))
    else:
        main()
