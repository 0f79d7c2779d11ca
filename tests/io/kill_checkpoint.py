"""Kill a run that saves all the time, at random moments, and see what a restart finds.

    python tests/io/kill_checkpoint.py 300                a kill hits one rank, all ranks, a keeper, or all of them
    python tests/io/kill_checkpoint.py 20 --first 41      numbers 41 to 60 of them

After every kill the script restores on its own: the checkpoint must be whole, hold what its step says, and be no older than the newest save
that every rank had finished. Killing the keepers together with all ranks takes the copies in memory along: then the newest checkpoint that
was on disk counts. At the end no process and no shared memory may be left.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np

from hpcml.io.checkpoint.stored.catalog import survey

CELLS = 1 << 18
TARGETS = ("rank", "ranks", "keeper", "everything")
START_SECONDS = 120.0  # to start a run, or a keeper, on a busy machine
LINGER_SECONDS = 2.0
END_SECONDS = 30.0  # beyond `LINGER_SECONDS`: a keeper waits for 15 s for another that may be lost
RECORD_BYTES = 10  # of the digits of a step and a newline


def content(step, rank):
    return np.full(CELLS, 1000.0 * step + rank)


def run(folder, step_seconds):
    """The victim: saves after every step, forever, and notes on every rank which saves have returned."""
    from mpi4py import MPI

    from hpcml.io import Blocked, Checkpointer

    comm = MPI.COMM_WORLD
    notes = os.open(saved_file(folder, comm.rank), os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def state(step):
        block = Blocked(content(step, comm.rank), (comm.rank * CELLS,), (comm.size * CELLS,))
        return {"step": step, "w": np.arange(5000.0) * step, "u": block}

    with Checkpointer(folder, comm, linger=LINGER_SECONDS) as checkpointer:
        restored = checkpointer.restore(state(0))
        first = 1 if restored is None else restored.step + 1
        for step in range(first, 1 << 29):
            comm.Allreduce(MPI.IN_PLACE, np.ones(8))
            time.sleep(step_seconds)
            checkpointer.save(step, state(step))
            os.write(notes, f"{step:0{RECORD_BYTES - 1}d}\n".encode())


def saved_file(folder, rank):
    return Path(f"{folder}.saved-{rank}")


def saved(folder, rank):
    """Step of the last save that has returned on a rank; not by way of the launcher, which loses lines and mixes them."""
    with suppress(FileNotFoundError):
        notes = saved_file(folder, rank).read_bytes()
        if whole := len(notes) // RECORD_BYTES:
            return int(notes[(whole - 1) * RECORD_BYTES : whole * RECORD_BYTES])
    return 0


def saved_by_all(folder, size):
    return min(saved(folder, rank) for rank in range(size))


def restored_step(folder, size):
    """Step of what a restart finds, after comparing it with what that step must have written."""
    from mpi4py import MPI

    from hpcml.io import restore
    from hpcml.io.files.lock import FolderLock

    FolderLock(Path(folder), patience=START_SECONDS).close()  # what is left of the run may still be writing
    restored = restore(folder, MPI.COMM_SELF)
    if restored is None:
        return 0
    assert restored.skipped == {}, f"skipped {restored.skipped}"
    state, step = restored.state, restored.step
    right = state["step"] == step and np.array_equal(state["w"], np.arange(5000.0) * step)
    right = right and np.array_equal(state["u"], np.concatenate([content(step, rank) for rank in range(size)]))
    assert right, f"{restored.path} does not hold the state of step {step}"
    return step


def processes_of(folder):
    """Process ids of the ranks of a run, and of the keepers by the rank they serve, found by the folder on their command lines."""
    ranks, keepers = [], {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):  # it may end meanwhile
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if "hpcml.io.checkpoint.keeper" in words and folder in words[-2]:
                keepers[int(entry.name)] = json.loads(words[-2])["rank_process"]
            elif words[-4:-2] == ["run", folder] and "mpiexec" not in words[0] and "prte" not in words[0]:
                ranks.append(int(entry.name))
    return ranks, keepers


def wait_for(condition, job, what):
    """Wait until something is the case while the run goes on."""
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        assert job.poll() is None, f"the run ended by itself, status {job.returncode}, before {what}"
        assert time.monotonic() < deadline, f"{START_SECONDS} s have passed before {what}"
        time.sleep(0.01)


def kill(*victims):
    for victim in victims:
        with suppress(ProcessLookupError):  # the launcher may be faster with what is left of a run
            os.kill(victim, signal.SIGKILL)


def kill_keeper(folder, size, victim, job):
    """Kill a keeper of the run, which does not notice, and see another one in its place."""
    _, keepers = processes_of(folder)
    master = keepers[victim]
    kill(victim)
    wait_for(lambda: master in {of for keeper, of in processes_of(folder)[1].items() if keeper != victim}, job, "a keeper was replaced")
    known = saved_by_all(folder, size)
    wait_for(lambda: saved_by_all(folder, size) > known + 1, job, "the run went on after the loss of a keeper")


def kill_once(folder, size, rng, target, job):
    """Kill something at a random moment; return the step that a restart must find at least."""
    wait_for(lambda: saved_by_all(folder, size), job, "the first save")
    time.sleep(rng.uniform(0, 0.5))
    ranks, all_keepers = processes_of(folder)
    keepers = [keeper for keeper, of in all_keepers.items() if of in ranks]  # those of an earlier run may still be there
    assert len(ranks) == len(keepers) == size, f"{len(ranks)} ranks and {len(keepers)} keepers found of {size}"
    on_disk = max((checkpoint.step for checkpoint in survey(Path(folder)).complete), default=0)
    if target == "keeper":
        kill_keeper(folder, size, rng.choice(keepers), job)
    victims = {"ranks": ranks, "everything": ranks + keepers}.get(target, [rng.choice(ranks)])
    kill(*victims)
    try:
        job.wait(timeout=60)
    except subprocess.TimeoutExpired:  # a launcher that hangs is no fault of the run
        kill(job.pid, *processes_of(folder)[0])
        job.wait()
    return on_disk if target == "everything" else saved_by_all(folder, size)


def one_round(folder, size, rng, launcher, target):
    """Start the run, kill it and restore; return the step found and the one needed."""
    for rank in range(size):
        saved_file(folder, rank).unlink(missing_ok=True)
    command = [launcher, "-n", str(size), sys.executable, __file__, "run", folder, f"{rng.choice([0.0, 0.01, 0.05])}"]
    with Path(f"{folder}.log").open("wb") as log:
        job = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        at_least = kill_once(folder, size, rng, target, job)
    except BaseException:
        kill(job.pid, *processes_of(folder)[0])
        job.wait()
        raise
    found = restored_step(folder, size)
    assert found >= at_least, f"a restart finds step {found}, {at_least} was saved"
    return found, at_least


def assert_nothing_left(folder):
    def left():
        return any(processes_of(folder))  # the copies are anonymous memory of these processes, and go with them

    deadline = time.monotonic() + LINGER_SECONDS + END_SECONDS
    while left() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left(), f"left behind: {processes_of(folder)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kills", type=int)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=1, help="number of the first kill: a campaign may be run in pieces")
    arguments = parser.parse_args()
    launcher = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    outcomes, target, count = Counter(), "nothing", 0
    with tempfile.TemporaryDirectory(prefix="kill-checkpoint-", ignore_cleanup_errors=True) as parent:
        folder = str(Path(parent) / "run")
        try:
            for count in range(arguments.first, arguments.first + arguments.kills):
                rng = random.Random(f"{arguments.seed}-{count}")
                target = rng.choice(TARGETS)
                found, at_least = one_round(folder, arguments.ranks, rng, launcher, target)
                outcomes[target] += 1
                print(f"kill {count} of {target}: step {found} restored, {at_least} needed", flush=True)
            assert_nothing_left(folder)
        except Exception as error:
            log = Path(f"{folder}.log")
            print(f"the run said:\n{log.read_text(errors='replace')[-4000:] if log.exists() else ''}")
            print("files:\n" + "\n".join(sorted(str(path.relative_to(parent)) for path in Path(parent).rglob("*"))))
            sys.exit(f"kill {count} of {target}, seed {arguments.seed}: {type(error).__name__}: {error}")
    print(f"{arguments.kills} kills ({dict(outcomes)}): every restart found a whole checkpoint, nothing was lost, nothing was left behind")


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        run(sys.argv[2], float(sys.argv[3]))
    else:
        main()
