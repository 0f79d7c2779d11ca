"""``hpcml bench NAME``: what something costs, as ratios within one run.

A benchmark is a module with one function:

    run(world, **options) -> rows, figures     rows of the table, and the few numbers by which the benchmark is known
    plot(rows, path)                           where there is one, a picture of the rows
"""

import argparse
import csv
import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from hpcml.cli.number import MOST, Number

BENCHMARKS = {
    "checkpoint": ("hpcml.cli.benchmarks.checkpoint", 2, "saving a state on 1 and 2 ranks, against torch and h5py"),
    "fft": ("hpcml.cli.benchmarks.fft", 2, "Fourier transform over 2 ranks against torch.fft on one, and bytes of a spectral convolution"),
    "gpu": (
        "hpcml.cli.benchmarks.gpu",
        2,
        "what 2 ranks make of one GPU, against what it could do, torch and neuraloperator",
    ),
    "graph": (
        "hpcml.cli.benchmarks.graph",
        4,
        "a graph's ghosts against torch's gloo, and steps of a MeshGraphNet on 2 ranks against one, and against PyTorch Geometric",
    ),
    "graph-schedules": (
        "hpcml.cli.benchmarks.graph_schedules",
        4,
        "schedules of a network on a mesh: accuracy, bytes and time, and where pipelines begin to move less",
    ),
    "halo": ("hpcml.cli.benchmarks.halo", 2, "exchange of ghost cells, against raw contiguous messages of the same bytes"),
    "halo-conv": ("hpcml.cli.benchmarks.halo_conv", 2, "3x3 convolution of a field over 2 ranks, against that of a rank's part alone"),
    "kernels": ("hpcml.cli.benchmarks.kernels", 1, "the kernels on the CPU, against NumPy and torch on one thread"),
    "memory": ("hpcml.cli.benchmarks.memory", 4, "what autograd keeps of an FNO and a U-Net on 1, 2 and 4 ranks, against torch's layers"),
    "unet": ("hpcml.cli.benchmarks.unet", 2, "training step of a U-Net on 2 ranks, against the same on one"),
    "online": (
        "hpcml.cli.benchmarks.online",
        3,
        "training while two ranks simulate: buffers against stored data at equal updates, who waits, and messages against ZeroMQ and files",
    ),
    "link": ("hpcml.cli.benchmarks.link", 2, "latency and bandwidth of messages by size, by every back end"),
}
"""Module, ranks it is made for, and what it measures."""

OPTIONS: dict[str, dict[str, tuple[int, str]]] = {
    "graph": {
        "side": (128, "nodes along each side of the mesh whose ghosts are exchanged"),
        "features": (64, "numbers at each of its nodes"),
        "samples": (300, "exchanges of each way"),
        "nodes": (50_000, "nodes of each rank of the MeshGraphNet on 1 and 2 ranks"),
        "compared-nodes": (10_000, "nodes of the MeshGraphNet beside PyTorch Geometric's"),
        "channels": (128, "of the MeshGraphNet"),
        "steps": (15, "of the MeshGraphNet"),
        "repeats": (3, "steps that are timed, the quickest of which counts"),
    },
    "online": {
        "updates": (20_000, "of each training; a tenth as many simulations bring new samples for each"),
        "stored": (50, "simulations that are learned from again and again, for comparison"),
        "seeds": (3, "trainings of each kind"),
        "side": (32, "cells along each side of the plate"),
        "width": (256, "of the perceptron's layers"),
        "messages": (400, "of each size and way"),
    },
}
"""By benchmark: sizes that may be set, their defaults and what they are."""

Rows = list[dict[str, Any]]


def add_parser(subparsers: Any) -> None:
    """Add ``bench``."""
    parser = subparsers.add_parser("bench", help="measure what something costs on this machine")
    names = parser.add_subparsers(required=True, metavar="NAME", dest="name")
    for name, (_, ranks, text) in BENCHMARKS.items():
        bench = names.add_parser(name, help=text, description=f"{text}. Start it on {ranks} ranks: mpiexec -n {ranks} hpcml bench {name}")
        bench.add_argument("--csv", type=Path, metavar="FILE", help="write the table there too")
        bench.add_argument("--json", action="store_true", help="end with one line that holds one JSON object")
        bench.add_argument("--plot", type=Path, metavar="FILE", help="draw it there: latency and bandwidth by size")
        for option, (default, what) in OPTIONS.get(name, {}).items():
            bench.add_argument(f"--{option}", type=Number(1, MOST), default=default, metavar="N", help=f"{what}, default {default}")
        bench.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure on all ranks, report on rank 0.

    Raises
    ------
    LaunchError
        On every rank, for another number of ranks than the benchmark is made for.
    ConfigError
        On every rank, for a picture of a benchmark that has none.
    """
    import hpcml.mpi
    from hpcml.core.errors import ConfigError, LaunchError

    world = hpcml.mpi.world()
    module, ranks, _ = BENCHMARKS[args.name]
    if world.size != ranks:
        raise LaunchError(f"{args.name} measures {ranks} ranks, got {world.size}: start mpiexec -n {ranks} hpcml bench {args.name}")
    benchmark = import_module(module)
    if args.plot and not hasattr(benchmark, "plot"):
        raise ConfigError(f"{args.name} has no picture: leave --plot away; halo and link have one")
    names = (option.replace("-", "_") for option in OPTIONS.get(args.name, {}))
    rows, figures = benchmark.run(world, **{name: getattr(args, name) for name in names})
    if world.rank == 0:
        from mpi4py import MPI

        from hpcml.kernels.description import describe_kernels

        machine = describe_kernels() | {"mpi": MPI.Get_library_version().splitlines()[0].strip("\0")}
        report(rows, figures | {"machine": machine}, args.csv, args.json)
        if args.plot:
            benchmark.plot(rows, args.plot)
    return 0


def report(rows: Rows, figures: dict[str, Any], csv_file: Path | None, as_json: bool) -> None:
    """Print the table, and on request write it as CSV and end with the figures as JSON."""
    cells = [list(rows[0]), *([f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(cells[0]))]
    for row in cells:
        print("  ".join(_aligned(row, widths)))
    if csv_file is not None:
        with csv_file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    if as_json:
        print(json.dumps(figures))


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
