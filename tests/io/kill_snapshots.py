"""Kill ranks that write snapshots all the time, at random moments, while a reader follows, and read what is left.

    python tests/io/kill_snapshots.py 50                  a kill hits one rank or all ranks; every other writer goes on from what is left
    python tests/io/kill_snapshots.py 20 --first 41       numbers 41 to 60 of them

After every kill the file must open, hold every acknowledged step with every value right, and plain HDF5 must read the same through the
view. Every other file is of a mesh. The reader that follows opens the file again and again while it is written: each step it is shown
must be whole.
"""

import argparse
import atexit
import itertools
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

import h5py
import numpy as np

from hpcml.io import Field, Series, SnapshotFile, SnapshotWriter, UniformGrid, UnstructuredGrid
from hpcml.topology.block import block_range

CELLS = (64, 48)
NUM_POINTS = CELLS[0] * CELLS[1]


def content(step, mesh):
    """What step number ``step`` must hold, in the order of the files: u and p, at the points and in the triangles of a mesh."""
    u = step + np.arange(NUM_POINTS) / 4096
    if mesh:
        return {"u": u, "p": np.stack([u, -u, 2 * u])[:, :-2].astype(np.float32)}
    u = u.reshape(CELLS).T
    return {"u": u, "p": np.stack([u, -u, 2 * u]).astype(np.float32)}


def is_mesh(path):
    """Whether a file is of a mesh: that with an even number."""
    return int(path.stem) % 2 == 0


def strip(comm):
    """A strip of triangles; the part of this rank."""
    points, cells = (block_range(n, comm.size, comm.rank) for n in (NUM_POINTS, NUM_POINTS - 2))
    where, first = np.arange(points.start, points.stop), np.arange(cells.start, cells.stop)
    return UnstructuredGrid.joined(np.stack([where, where % 2], 1), {"triangle": np.stack([first, first + 1, first + 2], 1)}, comm)


def run(path, layout):
    """The victim: writes steps for ever, and says when one is acknowledged; goes on from the last step before."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    mesh = is_mesh(path)
    geometry = strip(comm) if mesh else UniformGrid.dealt(CELLS, (1.0, 1.0), (1, comm.size), (0, comm.rank))
    fields = (Field("u", "m/s", dtype="float64"), Field("p", leading=(("sample", 3),), at="cells"))
    series = Series(geometry, fields)
    boxes = {name: tuple(slice(start, start + size) for start, size in zip(*place, strict=True)) for name, place in series.places().items()}
    with SnapshotWriter(path, series, comm, after=np.inf, layout=layout) as snapshots:
        for step in itertools.count(len(snapshots.times)):
            blocks = {name: whole[boxes[name]] for name, whole in content(step, mesh).items()}
            snapshots.append(step, {name: block if mesh else np.swapaxes(block, -1, -2) for name, block in blocks.items()})
            os.write(1, f"acknowledged {step}\n".encode())


def follow(path, seen):
    """Open what is there now and compare the newest step; return the number of steps."""
    if not path.exists():
        return seen
    file = SnapshotFile(path)
    steps = len(file.view.times)
    assert steps >= seen, f"the file went back from {seen} steps to {steps}"
    for name, whole in content(steps - 1, is_mesh(path)).items():
        assert np.array_equal(file.read(name, (steps - 1,)), whole), f"step {steps - 1} of {name} is torn"
    return steps


def kill_once(path, size, rng, launcher, layout):
    """Write, follow, kill; return what was killed, the steps acknowledged on some rank, and the steps the reader looked at."""
    with path.with_suffix(".log").open("w+") as log:
        command = [launcher, "-n", str(size), sys.executable, __file__, "run", str(path), layout]
        job = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        atexit.register(end_job, job)
        seen, looks, deadline = 0, 0, time.monotonic() + 60
        while not (acknowledged := newest(log)) and job.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert acknowledged, f"the writer did not start:\n{Path(log.name).read_text()}"
        end = time.monotonic() + rng.uniform(0, 0.5)
        while time.monotonic() < end:
            steps = follow(path, seen)
            seen, looks = steps, looks + (steps > seen)
            time.sleep(0.005)
        ranks = ranks_of(path)
        target = rng.choice(["one", "all"])
        for victim in ranks if target == "all" else [rng.choice(ranks)]:
            os.kill(victim, signal.SIGKILL)
        try:
            job.wait(timeout=30)
        except subprocess.TimeoutExpired:
            end_job(job)
        return target, newest(log), looks


def end_job(job):
    """Leave no job behind, whatever happens to this script."""
    if job.poll() is None:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()


def ranks_of(path):
    """Process ids of the ranks, found by the file on their command lines."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
        except OSError:
            continue
        if str(path).encode() in words and b"mpiexec" not in words and b"prte" not in words:
            found.append(int(entry.name))
    return found


def newest(log):
    """Number of steps that a rank has taken for acknowledged."""
    log.seek(0)
    return max((int(step) + 1 for step in re.findall(r"acknowledged (\d+)$", log.read(), re.MULTILINE)), default=0)


def check(path, acknowledged):
    """Compare every value of every step, with our reader and with plain HDF5."""
    file = SnapshotFile(path)
    steps = len(file.view.times)
    assert steps >= acknowledged, f"{acknowledged} steps were acknowledged, {steps} are there"
    assert np.array_equal(file.view.times, np.arange(steps)) and not file.view.attributes["complete"]
    with h5py.File(path) as plain:
        for step in range(steps):
            for name, expected in content(step, is_mesh(path)).items():
                assert np.array_equal(file.read(name, (step,)), expected), f"step {step} of {name}"
                assert np.array_equal(plain[name][step], expected), f"step {step} of {name} through the view"
    return steps


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kills", type=int)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--layout", choices=("ranks", "steps"), default="ranks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=1, help="number of the first kill: a campaign may be run in pieces")
    arguments = parser.parse_args()
    launcher = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what is registered for the end is run
    outcomes, looked = Counter(), 0
    with tempfile.TemporaryDirectory(prefix="kill-snapshots-") as parent:
        for count in range(arguments.first, arguments.first + arguments.kills):
            rng = random.Random(f"{arguments.seed}-{count}")
            path = Path(parent) / f"{(count + 1) // 2}.h5"  # the second writer goes on from what the first left
            target, acknowledged, looks = kill_once(path, arguments.ranks, rng, launcher, arguments.layout)
            steps = check(path, acknowledged)
            outcomes[target] += 1
            looked += looks
            print(f"kill {count} of {target}: {steps} steps, {acknowledged} acknowledged, {looks} looked at while written", flush=True)
    print(f"{arguments.kills} kills ({dict(outcomes)}): every file readable, no acknowledged step lost, none of {looked} steps torn")


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        run(Path(sys.argv[2]), sys.argv[3])
    else:
        main()
