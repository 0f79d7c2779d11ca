"""Kill, stop, restart and starve a training run of disk space at random instants, and compare it with one that was never disturbed.

    python tests/cli/disturb_training.py 60              on 2 ranks; another part of the campaign with --seed 1, 2, ...
    python tests/cli/disturb_training.py 60 --ranks 1    in processes of one rank, split off from one that has imported torch: much faster

The runs lie on a small file system of their own (needs `unshare`). After every disturbance each row of the metrics that was ever seen must
be there, the log must go on from what was seen of it, and the case must be whole; a run that meets a full disk must go on by itself when
there is room, or end with one sentence. A run that comes to its end must have the metrics and the errors of the one that was left alone.
"""

import argparse
import atexit
import csv
import importlib
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

CASE = """
[grid]
shape = [16, 16]
[equation]
name = "heat"
[data]
kind = "simulation"
trajectories = 3
held_out = 1
snapshots = 4
interval = 0.001
[model]
name = "fno"
channels = 4
modes = 3
layers = 2
[training]
epochs = %d
batch_size = 4
dtype = "float64"
checkpoint_share = 0.5
"""
KINDS = (
    *("kill a rank", "kill all", "kill the launcher", "ask to stop"),
    *("full at the start", "full for a while", "full, then kill", "full to the end"),
)
DISK = "size=12m"
PATIENCE_SECONDS = 200.0
DEAF = 128 + signal.SIGUSR1
"""What a launcher gives where a rank was asked to stop before it could listen; a job script takes it for a stop."""


class Run:
    """A run directory, what was seen of it, and the job that is at it."""

    def __init__(self, folder, disk, ranks):
        self.folder, self.disk, self.ranks = folder, disk, ranks
        self.rows, self.log, self.job = {}, b"", None

    def start(self):
        words = [*map(str, ["train", self.disk / "case.toml", "--run", self.folder, "--wait", "60"])]
        self.said = self.disk.parent / "said"
        with self.said.open("wb") as file:
            if self.ranks == 1:
                self.job = Split(words, file.fileno())
            else:
                command = [*launcher(self.ranks), sys.executable, "-m", "hpcml", *words]
                self.job = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)

    def look(self):
        """See what is there, and that nothing is missing of what was seen before."""
        log = self.folder / "log" / "rank0000.log"
        now = log.read_bytes() if log.exists() else b""
        assert now.startswith(self.log), "the log has lost lines"
        self.log = now
        rows = read_rows(self.folder)
        lost = {epoch: row for epoch, row in self.rows.items() if rows.get(epoch) != row}
        assert not lost, f"rows of the metrics are lost or another's: {lost}"
        self.rows |= rows
        config = self.folder / "config.toml"
        assert not config.exists() or "[training]" in config.read_text(), "config.toml is not whole"
        status = self.folder / "status.json"
        return json.loads(status.read_text())["state"] if status.exists() else ""

    def wait(self, seconds, epoch=math.inf):
        """Look on for a while, or until the job ends or has come to an epoch; whether it has ended."""
        end = time.monotonic() + seconds
        while self.job.poll() is None and time.monotonic() < end and max(self.rows, default=0) < epoch:
            self.look()
            time.sleep(0.02)
        self.look()
        return self.job.poll() is not None

    def end(self, statuses):
        """Wait for the end and see that it is one of these."""
        assert self.wait(PATIENCE_SECONDS), "the job does not end"
        assert statuses is None or self.job.returncode in statuses, f"status {self.job.returncode}"
        assert b"Traceback" not in self.said.read_bytes() or statuses is None, "a traceback"

    def processes(self):
        if self.ranks == 1 and self.job.poll() is None:
            yield self.job.pid
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if str(self.folder).encode() in words and words[1:3] == [b"-m", b"hpcml"]:
                    yield int(entry.name)

    def kill(self, which):
        if self.job.poll() is not None:  # its number may be another process's by now
            which = [victim for victim in which if victim != self.job.pid]
        for victim in which:
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)


class Split:
    """``hpcml WORDS`` in a process split off from this one, which has imported what takes long and not begun with MPI."""

    def __init__(self, words, output):
        self.returncode = None
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            os.setsid()
            os.dup2(output, 1)
            os.dup2(output, 2)
            sys.argv[1:] = words
            self._run()

    def _run(self):
        """As a process of Python begins and ends."""
        status = 1
        try:
            from hpcml.__main__ import start

            status = start()
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            atexit._run_exitfuncs()
            sys.stdout.flush()
            os._exit(status)

    def poll(self):
        if self.returncode is None and (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            self.returncode = os.waitstatus_to_exitcode(ended[1])
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)


def launcher(ranks):
    beside = Path(sys.executable).with_name("mpiexec")
    return [str(beside) if beside.exists() else shutil.which("mpiexec"), "-n", str(ranks)]


def read_rows(folder):
    path = folder / "metrics.csv"
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        rows = [{key: value for key, value in row.items() if key not in ("seconds", "bytes_sent")} for row in csv.DictReader(file)]
    return {int(row["epoch"]): row for row in rows}


def fill(disk, room=0):
    with suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    size = (disk / "filler").stat().st_size
    os.truncate(disk / "filler", max(0, size - room))


def at_random(run, rng, epochs):
    """Wait until a random instant: soon after the start, or between the epoch that it has come to and the last; whether it has ended."""
    if rng.random() < 0.3:
        return run.wait(rng.uniform(0, 3))
    return run.wait(PATIENCE_SECONDS, rng.randint(min(max(run.rows, default=0), epochs - 1), epochs - 1)) or run.wait(rng.uniform(0, 0.1))


def disturb(run, kind, rng, epochs):
    """Start the run, do something to it at a random instant, and see how it takes that; whether it came to its end, None if before that."""
    if kind == "full at the start":
        fill(run.disk, rng.choice([0, 4096, 40960]))
        run.start()
        run.end((0, 2))
        (run.disk / "filler").unlink()
        return run.job.returncode == 0
    if kind == "full to the end":  # rows that it cannot write it must bring along from memory
        run.start()
        while run.job.poll() is None and "samples on" not in run.said.read_text(errors="replace"):
            time.sleep(1e-3)
        fill(run.disk, rng.choice([0, 4096, 40960]))
        run.end((0, 2))
        (run.disk / "filler").unlink()
        return run.job.returncode == 0
    run.start()
    if at_random(run, rng, epochs):
        assert run.job.returncode == 0, f"status {run.job.returncode} although nothing was done to it"
        return None
    victims = [*run.processes()]
    if kind == "ask to stop":
        heard = len(victims) >= run.ranks and all(map(hears, victims))
        run.job.send_signal(signal.SIGUSR1)
        run.end((0, 85) if heard else (0, 85, DEAF, -signal.SIGUSR1))
    elif kind == "full for a while":
        fill(run.disk, rng.choice([0, 4096, 40960]))
        run.wait(rng.uniform(0, 5))
        (run.disk / "filler").unlink()
        run.end((0, 2))
    else:
        if kind == "full, then kill":
            fill(run.disk, rng.choice([0, 4096, 40960]))
            run.wait(rng.uniform(0, 3))
        run.kill({"kill a rank": victims[:1], "kill the launcher": [run.job.pid]}.get(kind, [*victims, run.job.pid]))
        run.wait(5)
        run.kill([*run.processes(), run.job.pid])  # what a launcher leaves behind is not what is tried here
        run.end(None)
        (run.disk / "filler").unlink(missing_ok=True)
    return run.job.returncode == 0


def hears(process):
    """Whether it has a handler for a request to stop: one that comes before the first instruction of Python ends it, as any program."""
    with suppress(OSError):
        status = Path("/proc", str(process), "status").read_text()
        caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt:")).split()[1], 16)
        return bool(caught >> (signal.SIGUSR1 - 1) & 1)
    return False


def finish(run):
    """Let it come to its end, undisturbed."""
    run.start()
    run.end((0,))


def result(folder):
    return read_rows(folder), json.loads((folder / "evaluation.json").read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("disturbances", type=int)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--disk", type=Path)
    arguments = parser.parse_args()
    if arguments.disk is None:
        with_own_disk()
    if arguments.ranks == 1:
        for name in ("torch", "h5py", "pydantic", "rich"):
            importlib.import_module(name)
    disk, rng, began = arguments.disk, random.Random(arguments.seed), time.monotonic()
    (disk / "case.toml").write_text(CASE % arguments.epochs)
    alone = Run(disk / "alone", disk, arguments.ranks)
    finish(alone)
    expected = result(alone.folder)
    done, runs, finished, number = Counter(), 0, 0, 0
    while number < arguments.disturbances:
        runs += 1
        run = Run(disk / f"run-{runs}", disk, arguments.ranks)
        ended = False
        while number < arguments.disturbances and not ended:
            kind = rng.choice(KINDS)
            try:
                ended = disturb(run, kind, rng, arguments.epochs)
            except BaseException:
                run.kill([*run.processes(), run.job.pid])
                print(f"{number + 1}, {kind}, seed {arguments.seed}; the run said:\n{run.said.read_text(errors='replace')[-4000:]}")
                raise
            if ended is None:
                break
            number += 1
            done[kind] += 1
            print(f"{number}: run {runs}, {kind}: status {run.job.returncode}, {len(run.rows)} rows seen, {run.look()}", flush=True)
        if ended is False:
            finish(run)
        assert result(run.folder) == expected, "the metrics or the errors are not those of the run that was left alone"
        finished += 1
        shutil.rmtree(run.folder)
    print(
        f"{number} disturbances ({dict(done)}) of {finished} runs in {time.monotonic() - began:.0f} s: every row, line and result was there"
    )


def with_own_disk():
    """Go on in a mount namespace with a small disk."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="disturb-training-") as folder:
        disk = Path(folder) / "disk"
        disk.mkdir()
        script = f'mount -t tmpfs -o {DISK} none "$0" && exec "$@"'
        words = [sys.executable, __file__, *sys.argv[1:], "--disk", disk]
        command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, disk, *words]
        sys.exit(subprocess.run([*map(str, command)]).returncode)


if __name__ == "__main__":
    main()
