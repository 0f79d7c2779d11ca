"""End jobs of a real Slurm in every way, and see that `hpcml job why` names it.

    python tests/slurm/end_jobs.py ["disk full" NaN ...]

Needs what `disturb_jobs` needs; prints a line of JSON for each end, and its exit status is the number of wrong causes.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

_spec = importlib.util.spec_from_file_location("disturb_jobs", Path(__file__).with_name("disturb_jobs.py"))
jobs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(jobs)

PARTS = """
import os, time
import torch
from mpi4py import MPI


class Ending(torch.optim.AdamW):
    count = 0

    def step(self, closure=None):
        Ending.count += 1
        if Ending.count == 3:
            self.end()
        return super().step(closure)

    def end(self):
        pass


class Diverging(Ending):
    def end(self):
        with torch.no_grad():
            self.param_groups[0]["params"][0].fill_(float("nan"))


class Hungry(Ending):
    def end(self):
        torch.ones(1 << 50)


class Raising(Ending):
    def end(self):
        raise KeyError("a name that is not there")


class Crashing(Ending):
    def end(self):
        if MPI.COMM_WORLD.rank == 1:
            os.abort()


class Slowing(Ending):
    def end(self):
        time.sleep(1000)


class Skipping(Ending):
    def end(self):
        if MPI.COMM_WORLD.rank == 1:
            MPI.COMM_WORLD.recv(source=0, tag=7)
"""


def by(optimiser, *words, nodes=1):
    """A training that ends in its third update."""
    return lambda folder, name: jobs.submit(
        *(
            folder,
            "train",
            "case.toml",
            "--run",
            f"runs/{name}",
            "--set",
            f"training.optimiser=parts:{optimiser}",
            "--time",
            "5",
            "--restarts",
            "0",
            *words,
        ),
        nodes=nodes,
    )


def launched(line):
    """A training that is launched in another way than this Python's MPI needs."""

    def submit(folder, name):
        text = (folder / "site.toml").read_text()
        (folder / "other.toml").write_text(text.replace(f'launch = "{jobs.launcher()}"', f'launch = "{line}"'))
        words = ["job", "submit", "train", "case.toml", "--site", "other.toml", "--nodes", 2, "--run", f"runs/{name}", "--time", "5"]
        return jobs.hpcml(folder, *words).strip()

    return submit


def full(folder, name):
    """A training in a folder of a disk with little room."""
    disk = folder / "runs" / name
    disk.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk], check=True)
    return by("Ending")(folder, name)


def cancelled(folder, name):
    job = by("Slowing")(folder, name)
    jobs.wait_until(lambda: jobs.saved(folder / "runs" / name) >= 0 and jobs.state(job)[0] == "RUNNING", "on its nodes", job)
    subprocess.run(["scancel", job], check=True)
    return job


ENDS = {
    "NaN": by("Diverging"),
    "out of memory": by("Hungry"),
    "user's error": by("Ending", "--set", "training.init_from=nowhere"),
    "exception": by("Raising"),
    "signal": by("Crashing", nodes=2),
    "hang": by("Skipping", nodes=2),
    "time limit": by("Slowing", "--time", "1", "--grace", "5"),
    "disk full": full,
    "cancelled": cancelled,
    "wrong launcher": launched("srun --mpi=nonsense"),
}
SAME = {"signal": ("signal", "lost rank"), "wrong launcher": ("wrong launcher",)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ends", nargs="*", help="of them, default all", metavar="END")
    args = parser.parse_args()
    folder, wrong = Path(tempfile.mkdtemp(prefix="hpcml-ends-")), 0
    with jobs.cluster():
        jobs.write_case(folder)
        (folder / "parts.py").write_text(PARTS)
        for number, name in enumerate(args.ends or ENDS):
            run = f"end-{number}"
            job = ENDS[name](folder, run)
            ended = jobs.wait_for_end(job)
            said = jobs.hpcml(folder, "job", "why", f"runs/{run}")
            right = said.partition(":")[0] in SAME.get(name, (name,))
            wrong += not right
            print(json.dumps({"end": name, "right": right, "state": ended, "said": said.splitlines()[0]}), flush=True)
            if name == "disk full":
                subprocess.run(["umount", "--lazy", folder / "runs" / run], check=False)
    print(f"{wrong} wrong; folder {folder}")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
