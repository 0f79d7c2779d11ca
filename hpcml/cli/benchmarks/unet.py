"""What a second rank gains in a training step of a U-Net.

Four fields of S x S cells go through a U-Net of 16 channels and 3 levels in float32 and back, with the gradients of all parameters and a
step of Adam, on one thread per rank. Two things are timed by turns:

    one     rank 0 alone on the whole field, while rank 1 waits
    two     both ranks on half of it each

Each takes the 20th percentile of its samples, which other work on the machine disturbs least, and the slower rank counts.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mpi4py import MPI

from hpcml.fields import Grid, decompose
from hpcml.fields.domain import Domain
from hpcml.models.unet import UNet
from hpcml.mpi.threads import one_torch_thread
from hpcml.mpi.world import World

CHANNELS, LEVELS, BATCH = 16, 3, 4
SAMPLES = {64: 24, 128: 16, 256: 8}
"""By S: some seconds of each."""


def run(world: World) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Measure all sizes.

    Returns
    -------
    rows, figures
        ``ratio_S`` is the time of a step on two ranks over that on one.

    Communication
    -------------
    Collective over world.
    """
    with one_torch_thread():
        rows = [_measure(world.comm, size, samples) for size, samples in SAMPLES.items()]
    return rows, {f"ratio_{row['size']}": row["ratio"] for row in rows}


def _measure(comm: MPI.Intracomm, size: int, samples: int) -> dict[str, Any]:
    grid = Grid((size, size), periodic=True)
    with decompose(grid, comm, dims=(comm.size, 1)) as shared, decompose(grid, MPI.COMM_SELF) as alone:
        one, two = _step(alone), _step(shared)
        times: dict[str, list[float]] = {"one": [], "two": []}
        for sample in range(samples + 2):
            comm.Barrier()
            took = _seconds(one) if comm.rank == 0 else 0.0
            _sleep_until_all_are_here(comm)
            each = _seconds(two)
            if sample >= 2:  # buffers, requests and torch's kernels are made at first use
                times["one"].append(took)
                times["two"].append(each)
    one_s, two_s = (comm.allreduce(float(np.quantile(times[name], 0.2)), MPI.MAX) for name in ("one", "two"))
    return {"size": size, "one_ms": 1e3 * one_s, "two_ms": 1e3 * two_s, "ratio": two_s / one_s}


def _step(domain: Domain) -> Callable[[], None]:
    torch.manual_seed(0)
    model = UNet(domain, 1, 1, CHANNELS, LEVELS)
    optimiser = torch.optim.Adam(model.parameters(), fused=True)
    x, target = torch.randn(2, BATCH, 1, *domain.local_shape)

    def step() -> None:
        optimiser.zero_grad()
        (model(x) - target).square().sum().backward()
        optimiser.step()

    return step


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _sleep_until_all_are_here(comm: MPI.Intracomm) -> None:
    """A barrier that leaves the core to others: who waits by spinning slows down who works on a machine with shared power or caches."""
    request = comm.Ibarrier()
    while not request.Test():
        time.sleep(1e-4)
