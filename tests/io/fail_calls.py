"""Fail each call on a file that a run makes, one at a time, and see that nothing acknowledged is lost and the next start goes on.

    python tests/io/fail_calls.py saves          every call of a run that saves and writes snapshots
    python tests/io/fail_calls.py dataset        every call of a run that makes a dataset
    python tests/io/fail_calls.py train 20       twenty calls of `hpcml train`, drawn by --seed
    python tests/io/fail_calls.py train --first 101 --last 200                those with these numbers
    python tests/io/fail_calls.py train --ranks 2 --rank 1                    every call of rank 1 of two

A library that is loaded before all others (`fail_call.c`) counts what the run and its keepers open, write, force to the disk, rename, link,
make and remove below the run's folder, HDF5's own calls included, and fails one of them with ENOSPC, EACCES, EIO or EMFILE in turn.
"""

import argparse
import contextlib
import errno
import io
import json
import mmap
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

ERRORS = (errno.ENOSPC, errno.EACCES, errno.EIO, errno.EMFILE)
CASE = """
[grid]
shape = [16, 16]
[equation]
name = "navier_stokes"
[data]
kind = "simulation"
trajectories = 2
held_out = 1
snapshots = 3
interval = 0.01
[model]
name = "fno"
channels = 2
modes = 2
layers = 1
[training]
epochs = 2
batch_size = 4
checkpoint_share = 1.0
"""


class Control:
    """What the library is told, and what it tells."""

    def __init__(self, path):
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 512)

    def arm(self, number, error):
        self._memory[:] = struct.pack("4q", 0, number, error, 0).ljust(512, b"\0")

    def disarm(self):
        """Calls counted, and which failed."""
        count, _, _, _ = struct.unpack("4q", self._memory[:32])
        what = bytes(self._memory[32:]).partition(b"\0")[0].decode(errors="replace")
        self._memory[8:16] = struct.pack("q", 0)
        return count, what


class Saves:
    """Three checkpoints and two snapshots, each acknowledged before the next."""

    def __init__(self, folder):
        self.folder, self.saved, self.shown = folder, 0, 0

    def run(self):
        import numpy as np
        from mpi4py import MPI

        from hpcml.io import Checkpointer, Field, Series, SnapshotWriter, UniformGrid

        series = Series(UniformGrid.dealt((4, 6), (1.0, 1.5)), [Field("u")])
        with Checkpointer(self.folder / "checkpoints", MPI.COMM_SELF, linger=0.0, patience=30.0) as checkpointer:
            restored = checkpointer.restore()
            assert (0 if restored is None else restored.step) >= self.saved, f"{self.saved} was saved, {restored} is there"
            assert restored is None or (restored.state["w"] == restored.step).all()
            for step in range(self.saved + 1, self.saved + 4):
                checkpointer.save(step, {"w": np.full(2000, float(step))})
                checkpointer.wait()
                self.saved = step
            with SnapshotWriter(self.folder / "run.h5", series, MPI.COMM_SELF, after=np.inf) as snapshots:
                assert len(snapshots.times) >= self.shown, f"{self.shown} snapshots were acknowledged, {snapshots.times} are there"
                for step in range(len(snapshots.times), len(snapshots.times) + 2):
                    snapshots.append(step, {"u": np.full((4, 6), float(step))})
                    self.shown = step + 1

    def check(self):
        from hpcml.io import SnapshotFile

        if self.shown:
            file = SnapshotFile(self.folder / "run.h5")
            assert len(file.view.times) >= self.shown
            assert all((file.read("u", (step,)) == step).all() for step in range(self.shown))


class Dataset:
    """A dataset of two trajectories, each acknowledged before the next, in the layout that HDF5 has most to write for."""

    def __init__(self, folder):
        self.folder, self.finished = folder, 0

    def run(self):
        import numpy as np
        from mpi4py import MPI

        from hpcml.io.dataset import Description, Field
        from hpcml.io.dataset.growing import GrowingDataset

        space = Description("demo", (Field("u"), Field("v", 1)), 2, (0.0, 0.1), ((0.25, 0.75), (0.5, 1.0)), (True, True))
        with GrowingDataset(self.folder / "demo.hdf5", space, "a case", MPI.COMM_SELF) as dataset:
            assert min([*dataset.missing, 2]) >= self.finished, f"{self.finished} were finished, {dataset.missing} are missing"
            for number in dataset.missing:
                dataset.write(number, 0, np.full((2, 3, 2, 2), number + 1.0))
                dataset.finish(number, MPI.COMM_SELF)
                self.finished = number + 1

    def check(self):
        from hpcml.io.dataset import open_dataset

        with open_dataset(self.folder / "demo.hdf5") as dataset:
            assert all((dataset.read(number) == number + 1).all() for number in range(2))


class Train:
    """`hpcml train` of a tiny case."""

    def __init__(self, folder):
        self.folder = folder
        self.case = folder.parents[1] / "case.toml"
        if not self.case.exists():
            self.case.write_text(CASE)

    def run(self):
        from hpcml.cli.main import main
        from hpcml.core.errors import HpcmlError

        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
            status = main(["train", str(self.case), "--run", str(self.folder)])
        _, error, sentence = said.getvalue().partition("hpcml: error: ")  # of many ranks, each raises it
        if error:
            raise HpcmlError(sentence.strip())
        assert status in (0, None), f"status {status}: {said.getvalue()}"

    def check(self):
        import csv

        from hpcml.io.checkpoint.stored.catalog import survey

        with (self.folder / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [row["epoch"] for row in rows] == ["1", "2"], rows
        assert survey(self.folder / "checkpoints").complete[0].step == int(rows[-1]["step"])


def victim(kind, parent, numbers):
    """Run, with the call of each number failing; print what came of it as a line of JSON each."""
    from mpi4py import MPI

    comm, control = MPI.COMM_WORLD, Control(Path(os.environ["FAIL_CONTROL"]))
    for number in numbers:
        folder, error = parent / "run" / f"{number}", ERRORS[number % len(ERRORS)]
        if comm.rank == 0:
            folder.mkdir(parents=True)
            control.arm(number, error)
        comm.Barrier()
        run = kind(folder)
        said = attempt(run.run)
        stop_if_alone(comm, number, error, control, said)
        everybody = comm.gather(said)
        count, what = control.disarm() if comm.rank == 0 else (0, "")
        if "/.lock" in what:  # it could not be given back: the next start would see that its owner, this process, is gone
            for path, _, names in os.walk(folder):  # which goes on where a keeper removes what is being walked
                if ".lock" in names:
                    Path(path, ".lock").unlink()
        comm.Barrier()
        after = attempt(run.check) if comm.rank == 0 and (not said or kind is Saves) else ""
        after = after or attempt(run.run)
        stop_if_alone(comm, number, error, control, after)
        if comm.rank == 0:
            after = after or attempt(run.check)
            if len(set(everybody)) > 1:
                after += f"ranks say different things: {everybody}"
            shutil.rmtree(folder, ignore_errors=True)
            print(json.dumps([number, errno.errorcode[error], count, what, said, after]), flush=True)
        comm.Barrier()


def attempt(action):
    """Do something; give the error of ours that it ends with, or the traceback of any other."""
    from hpcml.core.errors import HpcmlError

    try:
        action()
    except HpcmlError as caught:
        return str(caught)
    except BaseException:
        return "TRACEBACK " + traceback.format_exc()
    return ""


def stop_if_alone(comm, number, error, control, said):
    """End the job after an error that the ranks do not share."""
    if comm.size > 1 and said.startswith("TRACEBACK"):
        print(json.dumps([number, errno.errorcode[error], *control.disarm(), f"TRACEBACK of rank {comm.rank} {said}", ""]), flush=True)
        comm.Abort(1)


def build(parent):
    library = parent / "fail_call.so"
    compiler = shutil.which("gcc") or shutil.which("cc")
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", library, Path(__file__).with_name("fail_call.c"), "-ldl"]
    subprocess.run(command, check=True)
    return library


def launch(ranks, rank):
    """What starts a victim, and what its processes are told besides."""
    if ranks == 1:
        return [], {}
    beside = Path(sys.executable).with_name("mpiexec")
    return [beside if beside.exists() else shutil.which("mpiexec"), "-n", str(ranks)], {"FAIL_RANK": str(rank)}


def campaign(kind, count, seed, first=1, last=None, ranks=1, rank=0, report=print):
    """Count the calls, then fail all of them, or some; give the figures and what went wrong."""
    outcomes, wrong = Counter(), []
    with tempfile.TemporaryDirectory(prefix="fail-calls-") as name:
        parent = Path(name)
        (parent / "control").write_bytes(bytes(512))
        launcher, told = launch(ranks, rank)
        env = os.environ | told | {"LD_PRELOAD": str(build(parent)), "FAIL_FOLDER": f"{parent}/run", "FAIL_CONTROL": f"{parent}/control"}

        def lines(numbers):
            """What came of each; a run that ends early is started again behind the number that it got to."""
            numbers = list(numbers)
            while numbers:
                command = [*launcher, sys.executable, __file__, "victim", kind, name, *map(str, numbers)]
                with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
                    for line in process.stdout:
                        if line.startswith("["):
                            yield json.loads(line)
                            numbers = numbers[1:]
                if numbers:
                    yield [numbers.pop(0), "", 0, "unknown", f"TRACEBACK the run ended with status {process.returncode}", ""]
                else:
                    assert process.returncode == 0, f"the run ended with status {process.returncode}"

        ((_, _, total, _, said, after),) = lines([10**9])
        assert not said and not after, said + after
        numbers = range(first, min(total, last or total) + 1)
        numbers = numbers if count is None else sorted(random.Random(seed).sample(numbers, count))
        for number, error, _, what, said, after in lines(numbers):
            outcome = "not reached" if not what else "goes on" if not said else "one sentence"
            if said.startswith("TRACEBACK") or after or "\n" in said.strip() or "errno = " in said:  # as HDF5 says it
                outcome = "WRONG"
                wrong.append(f"call {number} ({what}) with {error}:\n{said}\n{after}")
            outcomes[outcome] += 1
            report(f"call {number} of {total}, {what or 'none'}, {error}: {outcome}; {said.splitlines()[0] if said else ''}", flush=True)
    return total, outcomes, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=("saves", "dataset", "train"))
    parser.add_argument("count", type=int, nargs="?")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=1, help="number of the first call to fail")
    parser.add_argument("--last", type=int, help="number of the last")
    parser.add_argument("--ranks", type=int, default=1, help="of `train`")
    parser.add_argument("--rank", type=int, default=0, help="whose calls fail")
    arguments = parser.parse_args()
    total, outcomes, wrong = campaign(
        arguments.kind, arguments.count, arguments.seed, arguments.first, arguments.last, arguments.ranks, arguments.rank
    )
    print("\n".join(wrong))
    print(f"{arguments.kind} on {arguments.ranks}: {total} calls, {sum(outcomes.values())} of them failed once: {dict(outcomes)}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    if sys.argv[1:2] == ["victim"]:
        victim({"saves": Saves, "dataset": Dataset, "train": Train}[sys.argv[2]], Path(sys.argv[3]), list(map(int, sys.argv[4:])))
    else:
        main()
