"""``hpcml tune``: measure once on this machine how messages travel fastest, and keep it."""

import argparse
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add ``tune``."""
    parser = subparsers.add_parser(
        "tune",
        help="measure how messages travel fastest on this machine",
        description="Time messages between two ranks of a node by every back end, and keep the times in the cache folder, where later "
        "runs on this machine find them. Start it on 2 ranks: mpiexec -n 2 hpcml tune. HPCML_HALO_BACKEND overrides what was found.",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure on two ranks, write on rank 0.

    Raises
    ------
    LaunchError
        On every rank, for another number of ranks than two.
    """
    import torch

    import hpcml.mpi
    from hpcml.cli.bench import report
    from hpcml.core.errors import LaunchError
    from hpcml.parallel.link import SIZES, link_times
    from hpcml.parallel.transport.tuned import Tuned, tuned_path

    world = hpcml.mpi.world()
    if world.size != 2:
        raise LaunchError(f"tune measures between 2 ranks, got {world.size}: start mpiexec -n 2 hpcml tune")
    curves = {"cpu": link_times(world.comm, torch.device("cpu"))}
    if world.device.type == "cuda":
        curves["cuda"] = link_times(world.comm, world.device)
    if world.rank == 0:
        found = Tuned(curves)
        found.save(tuned_path())
        rows = [{"bytes": n, **{device: found.best(device, n, tuple(by)) for device, by in curves.items()}} for n in SIZES]
        report(rows, {}, None, False)
        print(f"kept in {tuned_path()}")
    return 0
