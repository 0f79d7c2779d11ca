"""Time of a message between two ranks, by back end and size."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np
import torch
from mpi4py import MPI

from hpcml.mpi.gpu_aware import gpu_aware
from hpcml.parallel.exchange import Exchange
from hpcml.parallel.halo_plan import HaloPlan
from hpcml.parallel.layout import Layout
from hpcml.parallel.transport.choice import datatypes_possible
from hpcml.parallel.transport.moves import move_functions
from hpcml.parallel.transport.tuned import Curve

SIZES = tuple(1 << k for k in range(6, 23, 2))
"""Bytes: from one cell of a few fields to the face of a large block."""
LINE = 64
"""Bytes of a cache line."""


def link_times(comm: MPI.Intracomm, device: torch.device, sizes: Sequence[int] = SIZES, samples: int = 40) -> dict[str, Curve]:
    """Time of one message each way between ranks 0 and 1, by every back end that they can use.

    Every sample writes the message, sends it and copies what has come out of its buffer, as packing and unpacking do, because a back end
    that leaves the bytes where they are leaves the copying to the reader. ``datatype``, where it may be, sends it out of a field as runs
    of one cache line, every other line.

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
    moves = {way.routes[peer]: partial(_by_buffers, way, peer, given, taken) for way in ways}
    with ExitStack() as stack:
        if device.type == "cpu" and datatypes_possible() and size % LINE == 0:
            field = torch.zeros(size // LINE, 2 * LINE, dtype=torch.uint8)
            layout = Layout.blocks(field.shape, (1, 2))
            plan = HaloPlan(comm, layout, field, widths=[0, (LINE, 0)], periodic=[False, True], tag=len(ways), backend="datatype")
            moves["datatype"] = partial(_in_place, stack.enter_context(plan), field, given, taken)
        times: dict[str, list[float]] = {name: [] for name in moves}
        for sample in range(-3, samples):
            for name, move in moves.items():
                comm.Barrier()
                start = time.perf_counter()
                move()
                if device.type == "cuda":
                    torch.cuda.current_stream(device).synchronize()
                if sample >= 0:
                    times[name].append(time.perf_counter() - start)
    for way in ways:
        way.close()
    return {name: comm.allreduce(float(np.quantile(seconds, 0.2)), MPI.MAX) for name, seconds in times.items()}


def _by_buffers(way: Exchange, peer: int, given: torch.Tensor, taken: torch.Tensor) -> None:
    buffers = way.halves[way.half]
    torch.as_tensor(buffers.send[peer], device=given.device).copy_(given)
    way.start()
    way.wait()
    taken.copy_(torch.as_tensor(buffers.recv[peer], device=given.device))


def _in_place(plan: HaloPlan, field: torch.Tensor, given: torch.Tensor, taken: torch.Tensor) -> None:
    """The second half of every row goes to the first half of the neighbor's; nothing is copied besides."""
    field[:, LINE:].copy_(given.view(-1, LINE))
    plan.exchange(field)
    taken.view(-1, LINE).copy_(field[:, :LINE])


def _backends(device: torch.device) -> list[str]:
    if device.type == "cpu":
        return ["mpi", "shared"] if move_functions() else ["mpi"]
    return ["mpi", "staged", "one-shot"] if gpu_aware() else ["staged", "one-shot"]
