"""Time of a message between two ranks, by back end and size."""

import time
from collections.abc import Sequence

import numpy as np
import torch
from mpi4py import MPI

from hpcml.mpi.gpu_aware import gpu_aware
from hpcml.parallel.exchange import Exchange
from hpcml.parallel.transport.moves import move_function
from hpcml.parallel.transport.tuned import Curve

SIZES = tuple(1 << k for k in range(6, 23, 2))
"""Bytes: from one cell of a few fields to the face of a large block."""


def link_times(comm: MPI.Intracomm, device: torch.device, sizes: Sequence[int] = SIZES, samples: int = 40) -> dict[str, Curve]:
    """Time of one message each way between ranks 0 and 1, by every back end that they can use.

    Every sample writes the message, sends it and copies what has come out of its buffer, as packing and unpacking do, because a back end
    that leaves the bytes where they are leaves the copying to the reader.

    Parameters
    ----------
    comm : MPI.Intracomm
        Two ranks.
    device : torch.device
        Where the messages lie.
    sizes : sequence of int
        Bytes.
    samples : int
        Messages of each size, by all back ends in turn.

    Returns
    -------
    dict of str to tuple of (int, float)
        By back end: bytes and seconds, the 20th percentile of the slower rank; the same on both ranks.

    Communication
    -------------
    Collective over comm.
    """
    found: dict[str, list[tuple[int, float]]] = {}
    for size in sizes:
        for name, seconds in _times(comm, device, size, samples).items():
            found.setdefault(name, []).append((size, seconds))
    return {name: tuple(points) for name, points in found.items()}


def _times(comm: MPI.Intracomm, device: torch.device, size: int, samples: int) -> dict[str, float]:
    peer = 1 - comm.rank
    given, taken = (torch.zeros(size, dtype=torch.uint8, device=device) for _ in range(2))
    ways = [Exchange(comm, {peer: size}, {peer: size}, torch.uint8, device, tag, name) for tag, name in enumerate(_backends(device))]
    times: list[list[float]] = [[] for _ in ways]
    for sample in range(-3, samples):
        for number, way in enumerate(ways):
            comm.Barrier()
            start = time.perf_counter()
            buffers = way.halves[way.half]
            torch.as_tensor(buffers.send[peer], device=device).copy_(given)
            way.start()
            way.wait()
            taken.copy_(torch.as_tensor(buffers.recv[peer], device=device))
            if device.type == "cuda":
                torch.cuda.current_stream(device).synchronize()
            if sample >= 0:
                times[number].append(time.perf_counter() - start)
    for way in ways:
        way.close()
    return {way.routes[peer]: comm.allreduce(float(np.quantile(t, 0.2)), MPI.MAX) for way, t in zip(ways, times, strict=True)}


def _backends(device: torch.device) -> list[str]:
    if device.type == "cpu":
        return ["mpi", "shared"] if move_function() else ["mpi"]
    return ["mpi", "staged", "one-shot"] if gpu_aware() else ["staged", "one-shot"]
