"""One rank skips, repeats or reorders a call: every rank must end with an error that names a rank and the call, and soon.

    mpiexec -n 3 python tests/parallel/disorder.py                           all calls, all kinds of disorder, both times and directions
    mpiexec -n 3 python tests/parallel/disorder.py 7 2                       every seventh case from the third on
    mpiexec -n 3 python tests/parallel/disorder.py Conv2d skip 1 forward     one case that ends the job, as a user's program does

Cases run one after the other on communicators of their own, with little patience, and their errors are caught. Rank 0 prints what went
wrong, the number of cases and the slowest end beyond patience, which may be `MOST_S`.
"""

import faulthandler
import itertools
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import torch
from mpi4py import MPI

sys.path.insert(0, str(Path(__file__).parents[2]))
import hpcml.mpi
from hpcml.core.errors import CommunicationError
from hpcml.mpi import roll_call
from hpcml.mpi.patient_comm import patient
from tests.parallel import disordered_calls, disordered_files, disordered_solvers
from tests.parallel.disordered_calls import Setting

PATIENCE_S = 0.2
"""In the case itself; what all ranks do alike before has all the time that it wants."""
LISTEN_S = 0.2
"""Instead of `hpcml.mpi.roll_call.LISTEN_S`, likewise: waiting ranks look for messages every `hpcml.mpi.patience.LOOK_S`."""
MOST_S = 10.0
"""Every process is to end within 15 s of patience of 5 s."""
UNLIKE_WORK = 20
"""Times as much patience where rank 0 has work that the others wait for: who gives up before it comes leaves it alone."""
HANG_S = 100.0
DIFFERENTIABLE = disordered_calls.LAYERS | disordered_calls.FUNCTIONS
CALLS = (
    DIFFERENTIABLE
    | disordered_solvers.SOLVERS
    | disordered_solvers.PARALLEL
    | disordered_files.MPI_CALLS
    | disordered_files.CHECKPOINTS
    | disordered_files.FILES
)
KINDS = "skip", "repeat", "reorder"


def cases():
    """Name, kind of disorder, which time, direction."""
    for (name, call), kind, when in itertools.product(CALLS.items(), KINDS, (0, 1)):
        yield name, kind, when, "forward"
        if call.differentiable:
            yield name, kind, when, "backward"


def sequence(kind, odd, first, second):
    """What a rank does: the odd one does something else."""
    if not odd:
        return [first, second] if kind == "reorder" else [first]
    return {"skip": [], "repeat": [first, first], "reorder": [second, first]}[kind]


def pair_of(name, direction, setting):
    """The call of a case and another, each with the words that tell it: of a layer a second one like it, else some other call."""
    call = CALLS[name]
    if name in disordered_calls.LAYERS:
        other = name
    elif direction == "backward":
        other = "Domain.halo" if name != "Domain.halo" else "Domain.gather"
    else:
        other = "all_max" if name != "all_max" else "all_min"
    acts = call.make(setting), CALLS[other].make(setting)
    if direction == "backward":
        acts = tuple(partial(torch.autograd.backward, act().sum(), retain_graph=True) for act in acts)
    return (acts[0], call.words), (acts[1], CALLS[other].words)


class Case:
    """One rank's part of a case, and where it is in it."""

    def __init__(self, name, kind, when, direction):
        self.name, self.kind, self.when, self.direction = name, kind, when, direction
        self.words, self.tell = ("?",), lambda: None

    def run(self, setting, patience_s):
        """Prepare with all patience that there is, then do what is asked, and go on as a program does."""
        os.environ["HPCML_PATIENCE_S"] = "60"
        pair = pair_of(self.name, self.direction, setting)
        for act, _ in pair * self.when:
            act()
        setting.comm.Barrier()
        os.environ["HPCML_PATIENCE_S"] = str(patience_s)
        self.start = time.monotonic()
        self.tell()
        odd = setting.comm.rank == setting.comm.size - 1
        for act, words in sequence(self.kind, odd, *pair):
            self.words = words
            act()
        for settle in setting.afterwards:
            settle()
        last = "allgather" if self.name == "PatientComm.Barrier" else "Barrier"
        self.words = (last,)
        getattr(patient(setting.comm), last)(*[0] * (last == "allgather"))

    def fault(self, error):
        """What is wrong with how this rank ended; empty if nothing is."""
        if self.direction in CALLS[self.name].local:
            return "" if error is None else f"this call needs nobody, and yet: {error}"
        if error is None:
            return "" if self.kind == "reorder" and self.direction in CALLS[self.name].waited_later else "nobody noticed"
        if not isinstance(error, CommunicationError):
            return f"{type(error).__name__}: {error}"
        named = re.search(r"ranks? \d", str(error)) and any(word in str(error) for word in self.words)
        return "" if named else f"names no rank, or not {' or '.join(self.words)}: {error}"


def attempt(case, folder, patience_s=PATIENCE_S):
    """Run a case on all ranks, in a folder of its own; the fault and the seconds beyond patience of this rank.

    A hang ends the campaign, and shows where.
    """
    watch = threading.Timer(HANG_S, hang, [case])
    watch.daemon = True
    watch.start()
    comm = MPI.COMM_WORLD.Dup()
    folder.mkdir(exist_ok=True)
    case.start, error = time.monotonic(), None
    patience_s *= UNLIKE_WORK if case.name in disordered_solvers.UNLIKE else 1
    try:
        case.run(Setting(comm, folder), patience_s)
    except Exception as caught:
        error = caught
    watch.cancel()
    return case.fault(error), time.monotonic() - case.start - patience_s


def hang(case):
    print(f"{case.name, case.kind, case.when, case.direction} hangs on rank {MPI.COMM_WORLD.rank}", flush=True)
    faulthandler.dump_traceback()
    os._exit(3)


def main(every=1, first=0):
    world, roll_call.LISTEN_S = hpcml.mpi.world().comm, LISTEN_S
    bad, slowest, count = 0, (0.0, ""), 0
    scratch = MPI.COMM_WORLD.bcast(tempfile.mkdtemp() if world.rank == 0 else None)
    for chosen in itertools.islice(cases(), first, None, every):
        ends = MPI.COMM_WORLD.allgather(attempt(Case(*chosen), Path(scratch, str(count))))
        count += 1
        slowest = max(slowest, *((seconds, f"{chosen} on rank {rank}") for rank, (_, seconds) in enumerate(ends)))
        faults = [f"rank {rank}: {text[:400]}" for rank, (text, seconds) in enumerate(ends) if text]
        bad += bool(faults) or max(seconds for _, seconds in ends) > MOST_S
        if faults and world.rank == 0:
            print(chosen, *faults, sep="\n    ", flush=True)
    if world.rank == 0:
        shutil.rmtree(scratch, ignore_errors=True)
        print(f"{count} cases on {world.size} ranks of {MPI.get_vendor()[0]}: {bad} bad")
        print(f"slowest end {slowest[0]:.1f} s after patience: {slowest[1]}")
    MPI.COMM_WORLD.Barrier()
    sys.stdout.flush()
    os._exit(bool(bad))  # what was given up keeps MPI_Finalize waiting


def one(name, kind, when, direction):
    """One case whose error ends the job."""
    patience_s = float(os.environ.get("HPCML_PATIENCE_S", PATIENCE_S))
    comm = hpcml.mpi.world().comm
    folder = comm.bcast(tempfile.mkdtemp() if comm.rank == 0 else None)
    case = Case(name, kind, int(when), direction)
    case.tell = lambda: print(f"pid {os.getpid()} begins at {time.time()}", flush=True)
    case.run(Setting(comm, Path(folder)), patience_s)


if __name__ == "__main__":
    one(*sys.argv[1:]) if len(sys.argv) == 5 else main(*map(int, sys.argv[1:]))
