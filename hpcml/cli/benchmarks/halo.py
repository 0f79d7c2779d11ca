"""What an exchange of ghost cells costs, beside moving the same bytes with nothing around them.

Two ranks hold a block each, float64 with one ghost cell on either side, and exchange both faces along one axis, periodic. Every sample
starts with a barrier, writes what it then exchanges, since memory that another core has read must first come back to its writer, and
exchanges it:

    raw      the faces of the field are written as for the others, and a contiguous buffer for each, as many bytes as the face has; then a
             ``Sendrecv`` of these buffers: nothing is gathered, nothing scattered
    bare     the same without the field: only the contiguous buffers are written
    write    only the faces of the field are written, nothing is exchanged: what no exchange can be quicker than
    halo     `hpcml.parallel.HaloPlan` in place, with the back ends that it chooses
    mpi      the same, by MPI alone
    gloo     torch.distributed: contiguous faces by ``batch_isend_irecv``, copied into the ghosts

    alone    what `halo` takes after the faces were written, against `limit`: both ranks store as many bytes, raise a flag, wait for that of
             the other and load what it has stored, in one call of C, through memory and flags of the same kind (see
             `hpcml.cli.benchmarks.passing`); no exchange can do with less. For faces along the first axis, which are contiguous
    line     the nanoseconds of a cache line from one rank to the other, which say how far apart their cores are: two threads of one core
             load and store no faster than one, so that whatever a rank does beyond the limit counts twice there

Ratios are to raw, that of alone is to limit. The buffers are written because a message that is sent again unchanged still lies in the
cache of the one who reads it, and travels several times as fast as any message that says something. All ways take turns on one field. Each
rank takes the 20th percentile of its samples, which other work on the machine disturbs least; the slower rank counts.
"""

import time
from collections.abc import Callable
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mpi4py import MPI

from hpcml.cli.benchmarks.gloo import gloo, send_and_receive
from hpcml.cli.benchmarks.passing import Passing
from hpcml.cli.benchmarks.size_plot import size_plot
from hpcml.core.errors import CommunicationError
from hpcml.mpi.message_tags import RAW
from hpcml.mpi.world import World
from hpcml.parallel.halo_plan import HaloPlan
from hpcml.parallel.layout import Layout

CASES = {(1024, 1024): 300, (64, 64, 64): 300, (128, 128, 128): 200, (256, 256, 256): 60}
"""Cells of each rank, and samples."""
GLOO_EVERY = 5
"""Samples from one of gloo to the next: it takes ten times as long."""
Case = dict[str, Callable[[float], None]]


def run(world: World) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Measure all blocks along all axes.

    Returns
    -------
    rows, figures
        ``vs_limit`` is the geometric mean of alone over limit, ``line_ns`` the median of line, both None without shared memory;
        ``geomean`` and ``worst`` of halo over raw, ``geomean_bare`` of halo over bare, ``vs_gloo`` the geometric mean of gloo over halo.

    Communication
    -------------
    Collective over world.
    """
    with gloo(world.comm):
        rows = [_measure(world.comm, shape, axis, samples) for shape, samples in CASES.items() for axis in range(len(shape))]
    ratios, gains = [row["halo"] for row in rows], [row["gloo"] / row["halo"] for row in rows]
    bare = [row["halo"] / row["bare"] for row in rows]
    limits = [row["vs_limit"] for row in rows if row["vs_limit"]]
    figures = {"geomean": _geomean(ratios), "worst": max(ratios), "vs_gloo": _geomean(gains), "geomean_bare": _geomean(bare)}
    lines = [row["line_ns"] for row in rows if row["line_ns"]]
    return rows, {"vs_limit": _geomean(limits) if limits else None, "line_ns": float(np.median(lines)) if lines else None, **figures}


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw time and bandwidth over the bytes that a rank sends."""
    ways = ("raw", "halo", "mpi", "gloo")
    size_plot({name: [(2 * row["face_bytes"], 1e-6 * row["raw_us"] * row.get(name, 1.0)) for row in rows] for name in ways}, path)


def _measure(comm: MPI.Intracomm, shape: tuple[int, ...], axis: int, samples: int) -> dict[str, Any]:
    dims = [comm.size if d == axis else 1 for d in range(len(shape))]
    layout = Layout.blocks([n * p for n, p in zip(shape, dims, strict=True)], dims)
    widths = [int(d == axis) for d in range(len(shape))]
    periodic = [d == axis for d in range(len(shape))]
    padded = [n + 2 * w for n, w in zip(shape, widths, strict=True)]
    field = torch.from_numpy(np.zeros(padded))  # NumPy asks for large pages
    with (
        HaloPlan(comm, layout, field, widths=widths, periodic=periodic) as halo,
        HaloPlan(comm, layout, field, widths=widths, periodic=periodic, tag=2, backend="mpi") as mpi,
    ):
        out, send_raw = _raw(comm, prod(shape) // shape[axis])
        write, bare = _written(field, axis, lambda: None), _filled(out, send_raw)
        cases: Case = {"write": write, "raw": partial(_both, write, bare), "bare": bare}
        cases["halo"] = _written(field, axis, lambda: halo.exchange(field))
        cases["mpi"] = _written(field, axis, lambda: mpi.exchange(field))
        cases["gloo"] = _written(field, axis, partial(_by_gloo, comm, field, axis))
        times = _times(comm, cases, samples)
        for name in ("halo", "mpi", "gloo"):
            field.zero_()
            cases[name](comm.rank + 1.0)
            ghosts = torch.stack([field.select(axis, place) for place in (0, shape[axis] + 1)])
            if not torch.all(ghosts == comm.size - comm.rank):
                raise AssertionError(f"ghosts of {shape} along axis {axis} are not the neighbor's cells after {name}")
        beside = _beside_limit(comm, write, partial(halo.exchange, field), 2 * out[0].nbytes, samples) if axis == 0 else None
    raw = times.pop("raw")
    return {
        "block": "x".join(map(str, shape)),
        "axis": axis,
        "face_bytes": 8 * prod(shape) // shape[axis],
        "raw_us": 1e6 * raw,
        **{name: seconds / raw for name, seconds in times.items()},
        **(beside or {"limit_us": None, "vs_limit": None, "line_ns": None}),
    }


def _times(comm: MPI.Intracomm, cases: Case, samples: int) -> dict[str, float]:
    found: dict[str, list[float]] = {name: [] for name in cases}
    for sample in range(-5, samples):
        for name, case in cases.items():
            if name == "gloo" and sample % GLOO_EVERY:
                continue
            comm.Barrier()
            start = time.perf_counter()
            case(float(sample))
            if sample >= 0:
                found[name].append(time.perf_counter() - start)
    return {name: comm.allreduce(float(np.quantile(seconds, 0.2)), MPI.MAX) for name, seconds in found.items()}


def _beside_limit(
    comm: MPI.Intracomm, write: Callable[[float], None], exchange: Callable[[], None], nbytes: int, samples: int
) -> dict[str, float] | None:
    """An exchange after the faces were written, and the least that passes as many bytes; None without shared memory."""
    try:
        passing = Passing(comm, nbytes, 4)
    except CommunicationError:
        return None
    times: dict[str, list[float]] = {"exchange": [], "limit": []}
    for sample in range(-5, 2 * samples):
        for name, case in (("exchange", exchange), ("limit", passing)):
            write(float(sample))
            comm.Barrier()
            passing.meet()
            start = time.perf_counter()
            case()
            if sample >= 0:
                times[name].append(time.perf_counter() - start)
    line = passing.line_seconds()
    passing.close()
    alone, limit, line = (comm.allreduce(value, MPI.MAX) for value in (*(float(np.quantile(s, 0.2)) for s in times.values()), line))
    return {"limit_us": 1e6 * limit, "vs_limit": alone / limit, "line_ns": 1e9 * line}


def _raw(comm: MPI.Intracomm, cells: int) -> tuple[np.ndarray, Callable[[], None]]:
    out, into = np.zeros((2, cells)), np.zeros((2, cells))
    peer = (comm.rank + 1) % comm.size
    messages = [([out[k], MPI.DOUBLE], [into[k], MPI.DOUBLE]) for k in range(2)]

    def exchange() -> None:
        for mine, theirs in messages:
            comm.Sendrecv(mine, peer, RAW, theirs, peer, RAW)

    return out, exchange


def _both(write: Callable[[float], None], send: Callable[[float], None], value: float) -> None:
    write(value)
    send(value)


def _filled(out: np.ndarray, exchange: Callable[[], None]) -> Callable[[float], None]:
    def fill_and_exchange(value: float) -> None:
        out[0] = out[1] = value
        exchange()

    return fill_and_exchange


def _written(field: torch.Tensor, axis: int, exchange: Callable[[], None]) -> Callable[[float], None]:
    faces = [field.select(axis, place).numpy() for place in (1, field.shape[axis] - 2)]

    def write_and_exchange(value: float) -> None:
        for face in faces:
            face[...] = value
        exchange()

    return write_and_exchange


def _by_gloo(comm: MPI.Intracomm, field: torch.Tensor, axis: int) -> None:
    """Fill both ghost faces along an axis."""
    last, peer = field.shape[axis] - 1, (comm.rank + 1) % comm.size
    out = [field.select(axis, place).contiguous() for place in (1, last - 1)]
    into = [torch.empty_like(face) for face in out]
    send_and_receive([(peer, face) for face in out], [(peer, face) for face in into])
    field.select(axis, last).copy_(into[0])
    field.select(axis, 0).copy_(into[1])


def _geomean(values: list[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))
