"""Kill ranks of a job at random instants: the ranks that are left must bring it to its end, and no sample may be lost or counted twice.

    python tests/online/kill_ranks.py 50                     a kill in each of 50 online runs on 4 ranks, of a rank drawn anew each time
    python tests/online/kill_ranks.py 1 --kills 10 --ranks 12
    python tests/online/kill_ranks.py 10 --command train     the same for `hpcml train`

Needs Open MPI. Prints for each run who was killed, how soon the others heard of it and had the next row of metrics, and the final error;
ends with status 1 if a run does not finish, samples are missing or doubled, or the errors are in the middle more than 5 % above those of
runs that were left alone.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ONLINE = """
[grid]
shape = [16, 16]
extent = 1.0
periodic = false
[data]
kind = "online"
simulation = "heat_plate"
inputs = "parameters"
simulations = 60
held_out = 4
steps = 20
interval = 0.01
buffer = "reservoir"
capacity = 400
watermark = 60
new_per_update = 2
[data.parameters]
initial = [100.0, 500.0]
top = [100.0, 500.0]
bottom = [100.0, 500.0]
left = [100.0, 500.0]
right = [100.0, 500.0]
[model]
name = "parameter_mlp"
width = 64
layers = 2
[training]
updates = 2000
validate_every = 100
checkpoint_share = 0.2
batch_size = 10
learning_rate = 1e-3
loss = "mse"
"""
TRAIN = """
[grid]
shape = [24, 24]
[equation]
name = "heat"
[data]
kind = "simulation"
trajectories = 4
held_out = 1
snapshots = 5
interval = 0.001
[model]
name = "fno"
channels = 4
modes = 3
layers = 2
[training]
epochs = 60
batch_size = 4
checkpoint_share = 0.2
"""
CASES = {"online": ONLINE, "train": TRAIN}
ROOT = Path(__file__).parents[2]
ULFM = "--with-ft", "ulfm"
SAMPLES = 1200
ALONE = 3
"""Jobs that are left alone: samples come in another order each time."""
MOST_WORSE = 1.05
WITHIN_S = 300.0


class Job:
    """One job, and the processes of its ranks."""

    def __init__(self, command, folder, ranks):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "case.toml").write_text(CASES[command])
        self.run, self.said = folder / "run", folder / "said"
        launcher = Path(sys.executable).with_name("mpiexec")
        words = [launcher, *ULFM, "-n", ranks, sys.executable, "-m", "hpcml", command, "case.toml", "--run", "run"]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
        with self.said.open("w") as said:
            self.process = subprocess.Popen(
                [*map(str, words)], cwd=folder, env=environment, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
            )

    def until(self, done):
        """Wait until something is done, or the job has ended."""
        end = time.monotonic() + WITHIN_S
        while self.process.poll() is None and not done():
            if time.monotonic() > end:
                os.killpg(self.process.pid, signal.SIGKILL)
                raise SystemExit(f"still running after {WITHIN_S} s:\n{self.said.read_text()}")
            time.sleep(0.02)

    def rows(self):
        """Lines of the metrics."""
        return len((self.run / "metrics.csv").read_text().splitlines()) if (self.run / "metrics.csv").exists() else 0

    def deaths(self):
        """How often ranks were said to have died."""
        return self.said.read_text().count(" died: ")

    def result(self):
        """Error on what was held out, once the job has ended well."""
        said = self.said.read_text()
        assert self.process.returncode == 0, (self.process.returncode, said)
        assert json.loads((self.run / "status.json").read_text())["state"] == "finished", said
        if came := re.findall(r"(\d+) samples came, (\d+) were used and (\d+) are kept; (.*)", said):
            acknowledged, used, kept, rest = came[-1]
            assert int(acknowledged) == int(used) + int(kept) == SAMPLES, came[-1]
            assert rest == "0 refused, 0 of failed simulations, 0 not come, 0 doubled", came[-1]
        return next(iter(json.loads((self.run / "evaluation.json").read_text())["relative_l2"].values()))


def ranks_of(launcher):
    """Processes of the ranks that a launcher has started on this node and that live, by number."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            variables = (folder / "environ").read_bytes().split(b"\0") if int(parent) == launcher and state not in "ZX" else []
        except OSError:
            continue
        found |= {int(v.partition(b"=")[2]): int(folder.name) for v in variables if v.startswith(b"OMPI_COMM_WORLD_RANK=")}
    return found


def left_alone(command, folder, ranks):
    """Seconds that a job takes after its first row, and its error."""
    job = Job(command, folder, ranks)
    job.until(lambda: job.rows() > 1)
    began = time.monotonic()
    job.until(lambda: False)
    return time.monotonic() - began, job.result()


def disturbed(command, folder, ranks, kills, rng, seconds, least=2):
    """The error of a job of which ranks are killed, who they were, and how long the others took to hear of each and to go on."""
    job, killed, pauses = Job(command, folder, ranks), [], []
    job.until(lambda: job.rows() > 1)
    for _ in range(kills):
        time.sleep(rng.uniform(0, seconds / kills))
        living = ranks_of(job.process.pid)
        if len(living) <= least or job.process.poll() is not None:
            break
        victim, rows, deaths, began = rng.choice(sorted(living)), job.rows(), job.deaths(), time.monotonic()
        os.kill(living[victim], signal.SIGKILL)
        killed.append(victim)
        job.until(lambda deaths=deaths: job.deaths() > deaths)
        heard = time.monotonic() - began
        job.until(lambda rows=rows: job.rows() != rows)
        if job.process.poll() is None:  # else it had come to its end
            pauses.append((heard, time.monotonic() - began))
    job.until(lambda: False)
    return job.result(), killed, pauses


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=int)
    parser.add_argument("--command", choices=CASES, default="online")
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--kills", type=int, default=1, help="in each run")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    bad, rng, errors, pauses = 0, random.Random(arguments.seed), [], []
    with tempfile.TemporaryDirectory(prefix="kill-ranks-") as scratch:
        folder = Path(scratch) / "job"
        times, alone = zip(*(left_alone(arguments.command, folder, arguments.ranks) for _ in range(ALONE)), strict=True)
        print(f"left alone: {', '.join(f'{error:.4g}' for error in alone)}, after {min(times):.1f} s", flush=True)
        for number in range(1, arguments.runs + 1):
            try:
                error, killed, took = disturbed(arguments.command, folder, arguments.ranks, arguments.kills, rng, min(times))
            except AssertionError as failure:
                bad += 1
                print(f"{number}: BAD {failure}", flush=True)
                continue
            errors.append(error)
            pauses += took
            heard = ", ".join(f"{first:.2f} and {then:.2f} s" for first, then in took)
            print(f"{number}: killed {killed}; heard of and gone on after {heard or 'its end'}; error {error:.4g}", flush=True)
    ratio = statistics.median(errors) / statistics.median(alone)
    print(f"{arguments.runs} runs, {bad} bad; in the middle the error is {ratio:.3f} of that of the runs that were left alone")
    if pauses:
        (heard, went), worst = (map(statistics.median, zip(*pauses, strict=True))), max(then for _, then in pauses)
        print(f"{len(pauses)} deaths: heard of after {heard:.2f} s, gone on after {went:.2f} s in the middle and {worst:.2f} s at most")
    sys.exit(bad > 0 or ratio > MOST_WORSE)


if __name__ == "__main__":
    main()
