"""Disturb jobs of a real Slurm, and see that each goes on by itself and ends as a job that nobody disturbed.

    python tests/slurm/disturb_jobs.py 20 --faults notice     USR1 at random instants, from the first line of the script on
    python tests/slurm/disturb_jobs.py 5                      five of each kind of fault

Needs root, slurm-wlm, munge, iproute2 and an MPI that Slurm starts; makes a cluster of three nodes by `tests/slurm/cluster`.
"""

import argparse
import csv
import fcntl
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

CLUSTER = Path(__file__).with_name("cluster")
NODES = 3
CASE = """
[grid]
shape = [16]
[equation]
name = "heat"
[data]
kind = "simulation"
trajectories = 4
held_out = 1
snapshots = 3
interval = 0.001
[model]
name = "fno"
channels = 4
modes = 4
layers = 1
[training]
epochs = 60
batch_size = 2
checkpoint_share = 0.5
"""
SLOW = "mine:Slow"
PATIENCE_S = 15
WAIT_S = 1000.0
WORDS = {"limit": ["--time", "1", "--grace", "12", "--restarts", "40"], "spare": ["--time", "10", "--spare-nodes", "1"]}
FAULTS = ("notice", "limit", "preempt", "kill", "spare", "cut", "hang", "die")


def lacking():
    """What this machine lacks for a cluster; empty if nothing."""
    if os.geteuid() != 0:
        return "root"
    return next((name for name in ("slurmctld", "slurmd", "munged", "ip", "nsenter", "sbatch") if shutil.which(name) is None), "")


@contextmanager
def cluster(nodes=NODES):
    """A cluster of one's own; one at a time on a machine."""
    with Path("/tmp/hpcml-test-cluster.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        conf = subprocess.run([CLUSTER, "up", str(nodes)], check=True, capture_output=True, text=True).stdout.strip()
        before = os.environ.get("SLURM_CONF")
        os.environ["SLURM_CONF"] = conf
        try:
            yield
        finally:
            subprocess.run([CLUSTER, "down"], check=False)
            os.environ.pop("SLURM_CONF")
            if before is not None:
                os.environ["SLURM_CONF"] = before


def write_case(folder, delay=0.0):
    """A case whose updates take a while, and a site whose nodes have one rank each."""
    launch = launcher()
    (folder / "case.toml").write_text(CASE)
    (folder / "site.toml").write_text(
        f'description = "nodes on one machine"\nranks_per_node = 1\nlaunch = "{launch}"\n[environment]\n'
        f'HPCML_PATIENCE_S = "{PATIENCE_S}"\nPYTHONPATH = "{folder}:{Path(__file__).parents[2]}"\nTEST_DELAY = "{delay}"\n'
        'OMPI_ALLOW_RUN_AS_ROOT = "1"\nOMPI_ALLOW_RUN_AS_ROOT_CONFIRM = "1"\nOMPI_MCA_mpi_yield_when_idle = "1"\n'
    )
    (folder / "mine.py").write_text(
        "import os, time\nimport torch\n\n\nclass Slow(torch.optim.AdamW):\n    def step(self, closure=None):\n"
        "        time.sleep(float(os.environ.get('TEST_DELAY', 0)))\n        return super().step(closure)\n"
    )


def launcher():
    """What starts ranks in a job: Slurm where it knows this Python's MPI, else that one's own command."""
    code = "import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI; print(MPI.get_vendor()[0])"
    vendor = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    if vendor == "MPICH":
        return "srun --mpi=pmi2"
    return f"{Path(sys.executable).with_name('mpiexec')} -n {{ranks}} --map-by ppr:1:node"


def hpcml(folder, *words):
    command = [sys.executable, "-m", "hpcml", *map(str, words)]
    environment = os.environ | {"PYTHONPATH": f"{folder}:{Path(__file__).parents[2]}"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def submit(folder, kind, what, *words, nodes=2):
    """Number of a job that is submitted as a user does."""
    return hpcml(folder, "job", "submit", kind, what, "--site", "site.toml", "--nodes", nodes, *words).strip()


def state(job):
    answer = subprocess.run(["squeue", "-h", "-j", job, "--states=all", "-o", "%T %N"], capture_output=True, text=True, check=True)
    found, _, nodes = answer.stdout.strip().partition(" ")
    return found, nodes


def wait_until(holds, what, job, seconds=WAIT_S):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"job {job} is {state(job)}: not yet {what}"
        time.sleep(0.2)


def wait_for_end(job):
    """State that a job ends in, through all its starts."""
    wait_until(lambda: state(job)[0] in ("COMPLETED", "FAILED", "TIMEOUT", "NODE_FAIL", "CANCELLED", "OUT_OF_MEMORY"), "at an end", job)
    return state(job)[0]


def saved(run):
    return max((int(path.parent.name.split("-")[1]) for path in (run / "checkpoints").glob("step-*-*/commit.json")), default=0)


def result(run):
    """Rows of the metrics, without what is no result, and every byte of the state."""
    from mpi4py import MPI

    from hpcml.io import restore

    with (run / "metrics.csv").open(newline="") as file:
        rows = [{key: value for key, value in row.items() if key not in ("seconds", "bytes_sent")} for row in csv.DictReader(file)]
    restored = restore(run / "checkpoints", MPI.COMM_SELF)
    state = restored.state
    return restored.step, rows, flat(state["model"]) | flat(state["optimiser"])


def flat(tree, name=""):
    if isinstance(tree, dict):
        return {k: v for key, value in tree.items() for k, v in flat(value, f"{name}/{key}").items()}
    if isinstance(tree, (list, tuple)):
        return flat(dict(enumerate(tree)), name)
    return {name: tree.numpy().tobytes() if hasattr(tree, "numpy") else tree}


def ranks_on(node, run):
    """Process ids of the ranks of a run on a node."""
    for process in subprocess.run(["ip", "netns", "pids", f"hpcml-{node}"], capture_output=True, text=True).stdout.split():
        try:
            words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"train" in words and run.name.encode() in b" ".join(words) and any(word.endswith(b"/hpcml") for word in words):
            yield int(process)


def disturb(fault, folder, number, chance, step=None):
    """Submit a run, disturb it once, wait for its end; what it gave. A notice comes at any instant, or once a step is saved."""
    run = folder / "runs" / f"{fault}-{number}"
    words = WORDS.get(fault, ["--time", "10"])
    job = submit(folder, "train", "case.toml", "--run", f"runs/{run.name}", "--set", f"training.optimiser={SLOW}", *words)
    if fault != "limit":
        wait_until(lambda: state(job)[0] == "RUNNING", "on its nodes", job)
    nodes = [f"n{digit}" for digit in re.findall(r"\d", state(job)[1])]
    if fault == "notice":
        if step is None:
            time.sleep(chance.uniform(0, 25))
        else:
            wait_until(lambda: saved(run) >= step, f"at step {step}", job)
        subprocess.run(["scancel", "--batch", "--signal=USR1", job], check=False)
    elif fault != "limit":
        wait_until(lambda: saved(run) > 3, "at a checkpoint", job)
        time.sleep(chance.uniform(0, 2))
        globals()[f"_{fault}"](run, nodes, chance)
    ended = wait_for_end(job)
    for node in {"kill": nodes, "cut": nodes, "spare": ["n2"]}.get(fault, ()):
        subprocess.run([CLUSTER, "mend" if fault == "cut" else "boot", node], check=False, capture_output=True)
    return job, ended, run


def _preempt(run, nodes, chance):
    subprocess.run(
        ["sbatch", "--partition=urgent", "--nodes=3", "--exclusive", "--output=/dev/null", "--time=1", "--wrap=sleep 3"], check=True
    )


def _kill(run, nodes, chance):
    subprocess.run([CLUSTER, "kill", nodes[1]], check=True)


def _spare(run, nodes, chance):
    """A node dies of those that a job works on while a third stands by."""
    subprocess.run([CLUSTER, "kill", "n2"], check=True)


def _cut(run, nodes, chance):
    subprocess.run([CLUSTER, "cut", nodes[1]], check=True)


def _hang(run, nodes, chance):
    os.kill(next(ranks_on(chance.choice(nodes), run)), signal.SIGSTOP)


def _die(run, nodes, chance):
    os.kill(next(ranks_on(chance.choice(nodes), run)), signal.SIGKILL)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, help="jobs for each fault")
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=FAULTS)
    parser.add_argument("--delay", type=float, default=0.05, help="seconds that an update sleeps")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    chance, wrong = random.Random(args.seed), 0
    folder = Path(tempfile.mkdtemp(prefix="hpcml-jobs-"))
    with cluster():
        write_case(folder, args.delay)
        job = submit(folder, "train", "case.toml", "--run", "runs/whole", "--set", f"training.optimiser={SLOW}")
        assert wait_for_end(job) == "COMPLETED", (folder / f"whole-{job}.out").read_text()
        whole = result(folder / "runs" / "whole")
        for fault in args.faults:
            for number in range(args.count):
                begin = time.monotonic()
                job, ended, run = disturb(fault, folder, number, chance)
                output = (folder / f"{run.name}-{job}.out").read_text()
                right = ended == "COMPLETED" and result(run) == whole
                wrong += not right
                starts = len(re.findall(r"^job \d+, start", output, re.MULTILINE))
                print(json.dumps({"fault": fault, "job": job, "right": right, "ended": ended, "starts": starts,
                                  "seconds": round(time.monotonic() - begin)}), flush=True)  # fmt: skip
                if not right:
                    print(output[-3000:], flush=True)
    print(f"{wrong} wrong; folder {folder}")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
