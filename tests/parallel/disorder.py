"""One rank skips, repeats or reorders a call: every rank must end with an error that names a rank and the call, and soon.

    mpiexec -n 3 python tests/parallel/disorder.py            all calls, all kinds of disorder, first and second time, forward and backward
    mpiexec -n 3 python tests/parallel/disorder.py 7 2        every seventh case from the third on

Cases run one after the other on communicators of their own, and the error is caught; `tests/mpi/test_patience.py` ends whole jobs. Rank 0
prints what went wrong, the number of cases and the slowest end beyond patience.
"""

import itertools
import os
import sys
import tempfile
import time
from functools import partial

import torch
from mpi4py import MPI

PATIENCE_S = 0.4
os.environ["HPCML_PATIENCE_S"] = str(PATIENCE_S)

import hpcml.mpi  # noqa: E402
from hpcml import Grid, decompose  # noqa: E402
from hpcml.core.errors import CommunicationError  # noqa: E402
from hpcml.fields import fft  # noqa: E402
from hpcml.io.checkpoint.checkpointer import Checkpointer  # noqa: E402
from hpcml.models import layers  # noqa: E402
from hpcml.mpi.patient_comm import PatientComm  # noqa: E402
from hpcml.parallel import all_gather, all_reduce, broadcast, global_sum, sum_reduce  # noqa: E402
from hpcml.training import loss  # noqa: E402

LAYERS = {
    "Conv2d": lambda d: layers.Conv2d(d, 2, 2, 3, padding=1, padding_mode="circular"),
    "ConvTranspose2d": lambda d: layers.ConvTranspose2d(d, 2, 2, 3, padding=1),
    "Interpolate": lambda d: layers.Interpolate(d, scale_factor=2, mode="bilinear"),
    "Pad": lambda d: layers.Pad(d, (1, 1, 1, 1), mode="circular"),
    "Roll": lambda d: layers.Roll(d, (1, 1)),
    "Slice": lambda d: layers.Slice(d, slice(1, None), slice(1, None)),
    "SpectralConv": lambda d: layers.SpectralConv(d, 2, 2, 3),
    "AvgPool2d": lambda d: layers.AvgPool2d(d, 3, 1, padding=1),
    "MaxPool2d": lambda d: layers.MaxPool2d(d, 3, 1, padding=1),
    "BatchNorm2d": lambda d: layers.BatchNorm2d(d, 2),
    "GroupNorm": lambda d: layers.GroupNorm(d, 1, 2),
    "InstanceNorm2d": lambda d: layers.InstanceNorm2d(d, 2),
    "LayerNorm": lambda d: layers.LayerNorm(d, (2, *d.global_shape)),
}
FUNCTIONS = {
    "mse": lambda d: lambda x: loss.mse(d, x, x.detach() + 1),
    "relative_l2": lambda d: lambda x: loss.relative_l2(d, x, x.detach() + 1),
    "h1": lambda d: lambda x: loss.h1(d, x, x.detach() + 1),
    "halo": lambda d: lambda x: d.halo(x)[0],
    "gather": lambda d: lambda x: d.gather(x),
    "rfftn": lambda d: lambda x: fft.rfftn(d, x).abs(),
    "fftn": lambda d: lambda x: fft.fftn(d, x).abs(),
    "all_reduce": lambda d: lambda x: all_reduce(d.comm, x[:, :, 0, 0]),
    "all_gather": lambda d: lambda x: all_gather(d.comm, x[:, :, 0, 0]),
    "broadcast": lambda d: lambda x: broadcast(d.comm, x[:, :, 0, 0]),
    "sum_reduce": lambda d: lambda x: sum_reduce(d.comm, x[:, :, 0, 0]),
    "global_sum": lambda d: lambda x: global_sum(d.comm, x[:, :, 0, 0])[0],
}
PLAIN = {
    "all_sum": lambda d: lambda x: hpcml.mpi.all_sum(x[0, 0, 0, 0], d.comm),
    "all_max": lambda d: lambda x: hpcml.mpi.all_max(x[0, 0, 0, 0], d.comm),
    "all_min": lambda d: lambda x: hpcml.mpi.all_min(x[0, 0, 0, 0], d.comm),
    "start_sum": lambda d: lambda x: hpcml.mpi.start_sum(x[0, 0, 0, 0], d.comm).wait(),
    "agree": lambda d: lambda x: hpcml.mpi.agree(True, d.comm),
    "Dup": lambda d: lambda x: d.comm.Dup(),
    "Split": lambda d: lambda x: d.comm.Split(0, 0),
    "bcast": lambda d: lambda x: d.comm.bcast(1),
    "Barrier": lambda d: lambda x: d.comm.Barrier(),
    "World.of": lambda d: lambda x: hpcml.mpi.World.of(d.comm),
}
CHECKPOINTS = ("save", "wait", "latest", "restore")
LOCAL_BACKWARD = {"mse", "relative_l2", "global_sum"}  # the sum of a loss is replicated: its derivative needs nobody
CALLS = {**LAYERS, **FUNCTIONS, **PLAIN}


def cases():
    """Name, kind of disorder, which time, direction."""
    for name, kind, when in itertools.product([*CALLS, *CHECKPOINTS], ("skip", "repeat", "reorder"), (0, 1)):
        yield name, kind, when, "forward"
        if name in (*LAYERS, *FUNCTIONS) and name not in LOCAL_BACKWARD:
            yield name, kind, when, "backward"


def sequence(kind, odd, calls):
    """What a rank does: the odd one does something else."""
    first, second = calls
    if not odd:
        return [first, second] if kind == "reorder" else [first]
    return {"skip": [], "repeat": [first, first], "reorder": [second, first]}[kind]


def run(name, kind, when, direction, comm, folder):
    """One case on this rank; the calls after it belong to the program that goes on."""
    odd = comm.rank == comm.size - 1
    if name in CHECKPOINTS:
        with_checkpoints(name, kind, when, comm, odd, folder)
        return
    domain = decompose(Grid((12, 12), periodic=True), comm)
    x = torch.ones(1, 2, *domain.local_shape, requires_grad=True)
    other = PLAIN["all_max"] if name != "all_max" else PLAIN["all_min"]
    call = CALLS[name](domain)
    another = CALLS[name](domain) if name in LAYERS else other(domain)
    if direction == "forward":
        calls = partial(call, x), partial(another, x)
    else:
        outputs = call(x), (another if name in LAYERS else CALLS["halo" if name != "halo" else "gather"](domain))(x)
        calls = tuple(partial(torch.autograd.backward, y.sum(), retain_graph=True) for y in outputs)
    for _ in range(when):
        for each in calls:
            each()
    for each in sequence(kind, odd, calls):
        each()
    comm.allgather(0)
    raise AssertionError("nobody noticed")


def with_checkpoints(name, kind, when, comm, odd, folder):
    saver = Checkpointer(folder, comm)
    state = {"w": torch.ones(3)}
    step = itertools.count()
    calls = {
        "save": lambda: saver.save(next(step), state),
        "wait": saver.wait,
        "latest": saver.latest,
        "restore": lambda: saver.restore(state),
    }
    try:
        saver.save(next(step), state)
        chosen = calls[name], calls["latest" if name != "latest" else "restore"]
        for _ in range(when):
            for each in chosen:
                each()
        for each in sequence(kind, odd, chosen):
            each()
        comm.allgather(0)
        saver._comm.allgather(0)
    finally:
        saver.close(clean=False)
    raise AssertionError("nobody noticed")


def main(every=1, first=0):
    world = hpcml.mpi.world().comm
    bad, slowest, count = [], (0.0, ""), 0
    for case in itertools.islice(cases(), first, None, every):
        comm = PatientComm(MPI.COMM_WORLD.Dup())
        MPI.COMM_WORLD.Barrier()
        folder = MPI.COMM_WORLD.bcast(tempfile.mkdtemp() if world.rank == 0 else None)
        start = time.monotonic()
        try:
            run(*case, comm, folder)
            fault = "no error"
        except CommunicationError as error:
            fault = "" if "rank" in str(error) and named(case, str(error)) else f"unnamed: {error}"
        except Exception as error:
            fault = f"{type(error).__name__}: {error}"
        took = time.monotonic() - start - PATIENCE_S
        for rank, (text, seconds) in enumerate(MPI.COMM_WORLD.allgather((fault, took))):
            if text:
                bad.append((case, rank, text))
            slowest = max(slowest, (seconds, f"{case} on rank {rank}"))
        count += 1
        if world.rank == 0 and bad and bad[-1][0] == case:
            print(f"{case}: {[(rank, text[:300]) for c, rank, text in bad if c == case]}", flush=True)
    if world.rank == 0:
        failed = len({case for case, *_ in bad})
        print(f"{count} cases on {world.size} ranks of {MPI.get_vendor()[0]}: {failed} bad")
        print(f"slowest end {slowest[0]:.1f} s after patience: {slowest[1]}")
    MPI.COMM_WORLD.Barrier()
    sys.stdout.flush()
    os._exit(bool(bad))  # what was given up keeps MPI_Finalize waiting


def named(case, text):
    """Whether an error names the call that this rank was in: the one of the case, or the one that came next."""
    words = {"all_sum": "sum", "start_sum": "sum", "all_max": "maximum", "all_min": "minimum", "agree": "agreement", "World.of": "Dup"}
    return any(word in text for word in (case[0], words.get(case[0], case[0]), "maximum", "minimum", "allgather", "halo", "Checkpointer"))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
