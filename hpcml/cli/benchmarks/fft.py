"""What a Fourier transform gains from ranks, and what a spectral convolution sends.

Time    real transform there and back of one field of 128^3 cells in float32, one thread per rank. ``torch`` is torch.fft on rank 0 alone,
        while the others sleep; ``shared`` is ours on all ranks. They take turns, so that other work on the machine disturbs both alike, and
        the 20th percentile of the samples counts. A shared sample takes as long as its slowest rank. Half of torch's time is the system's,
        which hands out memory for every large result anew, as it does by default; ours goes back into results that are no longer used. The
        second row is the same with a C library told to keep that memory, as a program may tell it too.
Bytes   one forward pass of a spectral convolution on slabs. On paper: 2 m / N of the field there and as much back, m modes of the N cells
        of the last dim, but for what stays on its rank.
"""

import time
from typing import Any

import numpy as np
import torch
from mpi4py import MPI

from hpcml.core.malloc import keep_results_below
from hpcml.fields import Grid, decompose
from hpcml.fields.fft import irfftn, rfftn
from hpcml.models.layers.spectral_conv import SpectralConv
from hpcml.mpi.reductions import all_max, all_sum
from hpcml.mpi.threads import one_torch_thread
from hpcml.mpi.world import World
from hpcml.parallel import traffic

CELLS = 128
SAMPLES = 60
KEPT_BELOW = {"new memory": 1 << 20, "kept memory": 1 << 25}
NAP_S = 2e-4  # a waiting rank asks this often whether it is its turn
FIELD = {"batch": 4, "channels": 8, "cells": 128, "modes": 16}


def run(world: World) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Measure time and bytes.

    Returns
    -------
    rows, figures
        ``ratio`` is shared over torch, ``ratio_kept`` the same with memory that is kept, ``bytes_ratio`` sent over paper.

    Communication
    -------------
    Collective over world.
    """
    rows = []
    with one_torch_thread():
        for name, most in KEPT_BELOW.items():
            keep_results_below(most)
            alone, shared = _milliseconds(world.comm)
            rows.append(_row(f"rfftn + irfftn {CELLS}^3 float32, {name}, ms", alone, shared))
    sent, paper = _bytes(world.comm)
    rows.append(_row("spectral convolution, bytes", paper, sent))
    return rows, dict(zip(("ratio", "ratio_kept", "bytes_ratio"), (row["ratio"] for row in rows), strict=True))


def _row(measured: str, reference: float, shared: float) -> dict[str, Any]:
    return {"measured": measured, "reference": reference, "shared": shared, "ratio": shared / reference}


def _milliseconds(comm: MPI.Intracomm) -> tuple[float, float]:
    samples: dict[str, list[float]] = {"torch": [], "shared": []}
    with decompose(Grid((CELLS,) * 3), comm, dims=(comm.size, 1, 1)) as domain, torch.no_grad():
        whole = torch.randn((CELLS,) * 3, generator=torch.Generator().manual_seed(0))
        block = whole[domain.index].clone()
        for _ in range(SAMPLES):
            _sleep_until_all_are_here(comm)
            if comm.rank == 0:
                start = time.perf_counter()
                torch.fft.irfftn(torch.fft.rfftn(whole), whole.shape)
                samples["torch"].append(time.perf_counter() - start)
            _sleep_until_all_are_here(comm)
            comm.Barrier()
            start = time.perf_counter()
            irfftn(domain, rfftn(domain, block))
            samples["shared"].append(time.perf_counter() - start)
    slowest = all_max(np.array(samples["shared"]), comm)
    alone = comm.bcast(samples["torch"])
    return 1e3 * float(np.quantile(alone, 0.2)), 1e3 * float(np.quantile(slowest, 0.2))


def _sleep_until_all_are_here(comm: MPI.Intracomm) -> None:
    arrival = comm.Ibarrier()
    while not arrival.Test():
        time.sleep(NAP_S)


def _bytes(comm: MPI.Intracomm) -> tuple[int, float]:
    batch, channels, n, m = FIELD.values()
    with decompose(Grid((n, n)), comm, dims=(comm.size, 1)) as domain:
        layer = SpectralConv(domain, channels, channels, m)
        field = torch.zeros(batch, channels, *domain.local_shape)
        before = traffic.bytes
        layer(field)
        sent = all_sum(traffic.bytes - before, comm)
    bytes_of_field = batch * channels * n * n * field.element_size()
    return sent, 2 * bytes_of_field * (2 * m / n) * (1 - 1 / comm.size)
