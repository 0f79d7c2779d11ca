"""Start one run on two nodes at the same instant, and see that one works and the other is refused, or waits.

    python tests/io/start_twice.py 50                  two nodes of one's own: other names, other numbers of processes (needs `unshare`)
    python tests/io/start_twice.py 50 --nodes n1,n2    two nodes of Slurm that share the folder --parent

The file system's locks are refused to both, as where there are none. Every second time the one that comes too late is told to wait.
"""

import argparse
import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

REFUSES = """
#include <errno.h>
#include <stdarg.h>
int flock(int fd, int how) { errno = ENOSYS; return -1; }
int lockf(int fd, int how, long length) { errno = ENOLCK; return -1; }
"""
CASE = """
[grid]
shape = [16]
[equation]
name = "heat"
[data]
kind = "simulation"
trajectories = 2
held_out = 1
snapshots = 3
interval = 0.001
[model]
name = "fno"
channels = 2
modes = 2
layers = 1
[training]
epochs = 4
batch_size = 2
"""
TOGETHER = """
import sys, time
import hpcml.mpi, hpcml.runs.train_case
from hpcml.cli.main import main
hpcml.mpi.world()
from pathlib import Path
mine, other = map(Path, sys.argv[1:3])
mine.touch()
while not other.exists():
    time.sleep(0.002)
time.sleep(0.05)
sys.exit(main(sys.argv[3:]))
"""
START_SECONDS = 300.0


def command(node, slurm, words):
    if slurm:
        return ["srun", "--overlap", "--nodes=1", "--ntasks=1", f"--nodelist={node}", f"--job-name=twice-{node}", *words]
    alone = ["unshare", "--map-root-user", "--uts", "--pid", "--fork", "--mount-proc", "sh", "-c", f'hostname {node} && exec "$@"', "sh"]
    return [*alone, *words]


def start(folder, node, other, slurm, wait):
    train = ["train", folder / "case.toml", "--run", folder / "run", "--wait", wait]
    words = [sys.executable, folder / "together.py", folder / node, folder / other, *train]
    environment = os.environ | {"LD_PRELOAD": str(folder.parent / "refuses.so"), "OMP_NUM_THREADS": "1"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    return subprocess.Popen([*map(str, command(node, slurm, words))], **streams)


def rows(folder):
    with (folder / "run" / "metrics.csv").open(newline="") as file:
        return [int(row["epoch"]) for row in csv.DictReader(file)]


def one_start(folder, nodes, slurm, waits):
    """Start both; return which worked."""
    folder.mkdir()
    (folder / "case.toml").write_text(CASE)
    (folder / "together.py").write_text(TOGETHER)
    jobs = [start(folder, node, other, slurm, START_SECONDS if waits else 0) for node, other in (nodes, nodes[::-1])]
    said = [job.communicate(timeout=2 * START_SECONDS) for job in jobs]
    statuses = [job.returncode for job in jobs]
    story = "\n".join(f"{node}: status {status}\n{out}{err}" for node, status, (out, err) in zip(nodes, statuses, said, strict=True))
    assert rows(folder) == [1, 2, 3, 4], f"rows of the metrics {rows(folder)}\n{story}"
    if waits:
        assert statuses == [0, 0] and sum("resuming after update" in out for out, _ in said) == 1, story
        return nodes[0] if "resuming after update" in said[1][0] else nodes[1]
    assert sorted(statuses) == [0, 2], story
    first, second = statuses.index(0), statuses.index(2)
    job = r" of job \d+" if slurm else ""
    assert re.search(rf"hpcml: error: .*checkpoints is in use by process \d+ on {nodes[first]}{job}, ", said[second][1]), story
    assert "resuming" not in said[first][0] and "WARNING" not in said[first][0], story
    return nodes[first]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("starts", type=int)
    parser.add_argument("--nodes", type=lambda text: tuple(text.split(",")), default=())
    parser.add_argument("--parent", help="folder that both nodes see")
    arguments = parser.parse_args()
    nodes, first, began = arguments.nodes or ("left", "right"), Counter(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="start-twice-", dir=arguments.parent) as parent:
        (Path(parent) / "refuses.c").write_text(REFUSES)
        compiler = shutil.which("cc") or shutil.which("gcc") or "cc"
        subprocess.run([compiler, "-shared", "-fPIC", "-o", f"{parent}/refuses.so", f"{parent}/refuses.c"], check=True)
        for count in range(arguments.starts):
            worked = one_start(Path(parent) / str(count), nodes, bool(arguments.nodes), bool(count % 2))
            first[worked] += 1
            print(f"start {count + 1}: {worked} worked, the other {'waited' if count % 2 else 'was refused'}", flush=True)
    print(f"{arguments.starts} starts in {time.monotonic() - began:.0f} s, first were {dict(first)}: nothing of the first was touched")


if __name__ == "__main__":
    main()
